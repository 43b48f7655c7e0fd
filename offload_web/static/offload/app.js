// What every page has.

import { copyButtons } from "./copy.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startNotices } from "./notices.js";
import { themeButton } from "./theme-button.js";
import { startClock } from "./time.js";

const button = document.getElementById("theme");
if (button) themeButton(button);
startClock();
copyButtons();
startLive();
startKeys();
startNotices();
