// Files into the job's worktree and out of it.

import { toast } from "./toast.js";

/** @param {unknown} error */
const words = (error) => (error instanceof Error ? error.message : String(error));

export class Files {
  /**
   * @param {{upload: string, download: string}} addresses
   * @param {(text: string) => void} insert types a file's name
   */
  constructor(addresses, insert) {
    this.addresses = addresses;
    this.insert = insert;
  }

  /** Let files be dropped on the terminal. @param {HTMLElement} host */
  acceptDrops(host) {
    let depth = 0;
    const show = (/** @type {boolean} */ on) => host.classList.toggle("drop", on);
    host.addEventListener("dragenter", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      depth += 1;
      show(true);
    });
    host.addEventListener("dragover", (event) => event.preventDefault());
    host.addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      if (!depth) show(false);
    });
    host.addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      show(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length) void this.upload(files);
    });
  }

  /** @param {File[]} files */
  async upload(files) {
    for (const file of files) {
      toast(`Uploading ${file.name}…`);
      try {
        const form = new FormData();
        form.append("file", file, file.name);
        const token = /** @type {HTMLInputElement} */ (document.querySelector("[name=csrfmiddlewaretoken]")).value;
        const answer = await fetch(this.addresses.upload, {
          method: "POST", body: form, headers: { "X-CSRFToken": token },
        });
        const said = await read(answer);
        toast(`${said.name} is in the worktree.`, {
          action: "Insert name", run: () => this.insert(quoted(said.name)), sticky: true,
        });
      } catch (error) {
        toast(`Uploading ${file.name} failed: ${words(error)}`, { sticky: true });
      }
    }
  }

  /** @param {string} path inside the worktree */
  async download(path) {
    try {
      const answer = await fetch(`${this.addresses.download}?path=${encodeURIComponent(path)}`);
      if (!answer.ok) await read(answer);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await answer.blob());
      link.download = path.split("/").pop() ?? "file";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      toast(`Downloading ${path} failed: ${words(error)}`, { sticky: true });
    }
  }
}

/** @param {Response} answer */
async function read(answer) {
  let said;
  try {
    said = await answer.json();
  } catch {
    throw new Error(`the server answered ${answer.status}.`);
  }
  if (!answer.ok) throw new Error(`${said.error.message} ${said.error.hint}`.trim());
  return said;
}

/** @param {string} name */
function quoted(name) {
  return /^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}
