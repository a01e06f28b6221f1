// The frame around every screen: header, banners, and the screen that the address names.
import { Banners, Reference } from "./parts/banners";
import { A, place } from "./router";
import { GameScreen } from "./screens/game";
import { HomeScreen } from "./screens/home";
import { ReelScreen } from "./screens/reel";
import { library } from "./wiring";

export function App() {
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="bar">
        <A href="/" class="brand">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" />
            <path d="M12 9.5v13l11-6.5z" />
          </svg>
          Reel Ballers
        </A>
        {place.value.screen !== "home" && (
          <nav aria-label="Main">
            <A href="/">Games and reels</A>
          </nav>
        )}
      </header>
      <Banners />
      <main id="main" class="page">
        {library.loaded.value ? <Screen /> : <Loading />}
      </main>
    </>
  );
}

function Screen() {
  const where = place.value;
  switch (where.screen) {
    case "home":
      return <HomeScreen />;
    case "game":
      return <GameScreen id={where.id} />;
    case "reel":
      return <ReelScreen id={where.id} />;
    case "nowhere":
      return (
        <div class="empty">
          <h1 tabIndex={-1}>There is nothing here</h1>
          <A href="/" class="button primary">
            Go to your games
          </A>
        </div>
      );
  }
}

function Loading() {
  const problem = library.problem.value;
  if (!problem) return <p class="empty hint">Opening your games…</p>;
  return (
    <div class="empty">
      <h1 tabIndex={-1}>Your games could not be opened</h1>
      <p>
        {problem.message} <Reference traceId={problem.traceId} />
      </p>
      <button type="button" class="primary" onClick={() => void library.refresh()}>
        Try again
      </button>
    </div>
  );
}
