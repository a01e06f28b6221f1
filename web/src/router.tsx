// Addresses of the app: the games, one game, one reel. History API, real links, focus on the new page's heading.
import { computed, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

export type Place = { screen: "home" } | { screen: "game"; id: string } | { screen: "reel"; id: string } | { screen: "nowhere" };

const path = signal(location.pathname);
addEventListener("popstate", () => (path.value = location.pathname));

export const place = computed<Place>(() => {
  const [screen = "", id = "", more] = path.value.split("/").slice(1);
  if (screen === "") return { screen: "home" };
  if ((screen === "games" || screen === "reels") && id !== "" && more === undefined) return { screen: screen === "games" ? "game" : "reel", id };
  return { screen: "nowhere" };
});

export function go(to: string, replace = false): void {
  if (to !== location.pathname) history[replace ? "replaceState" : "pushState"](null, "", to);
  path.value = to;
  scrollTo(0, 0);
  // Screen readers and the keyboard go on from the top of the new page.
  requestAnimationFrame(() => document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true }));
}

export function A(props: { href: string; class?: string; children: ComponentChildren }) {
  const follow = (event: MouseEvent): void => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(props.href);
  };
  return (
    <a href={props.href} class={props.class} onClick={follow}>
      {props.children}
    </a>
  );
}
