// The log of a run: what its events say in words, the newest last.
import { $ } from "../refresh.js";

const WORDS = {
  state: ({ state }) => `the run is ${state}`,
  note: ({ text }) => text,
  interrupted: ({ text }) => text,
};

/** Write the events of `source` into the page's log as they come. */
export function showLog(source) {
  for (const [kind, words] of Object.entries(WORDS)) {
    source.addEventListener(kind, (event) => {
      const list = $("#log ol");
      if (!list) return;
      const told = JSON.parse(event.data);
      const item = document.createElement("li");
      const time = document.createElement("time");
      const moment = new Date(told.time);
      time.dateTime = told.time;
      time.textContent = moment.toLocaleTimeString([], { hour12: false });
      item.append(time, ` ${words(told)}`);
      list.append(item);
      $("#log").hidden = false;
    });
  }
}
