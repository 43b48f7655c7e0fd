// Who else looks at this session, and who decides its size.

/** @typedef {"drive"|"follow"|"watch"} Role */
/** @typedef {{who: string, role: Role, you: boolean}} Person */

const THEIRS = { drive: "driving", follow: "following", watch: "watching" };
const MINE = { drive: "You drive", follow: "You follow", watch: "Watching only" };

/** @param {HTMLElement} chip @param {HTMLElement} take @param {Role} role @param {Person[]} people */
export function showPeople(chip, take, role, people) {
  const others = people.filter((person) => !person.you);
  chip.textContent = others.length ? `${MINE[role]} · ${others.length} more` : role === "drive" ? "" : MINE[role];
  chip.hidden = !chip.textContent;
  chip.title = others.map((person) => `${person.who} is ${THEIRS[person.role]}`).join("\n");
  take.hidden = role !== "follow";
}
