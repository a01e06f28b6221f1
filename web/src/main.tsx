// Starts the app.
import { render } from "preact";
import { App } from "./app";
import { follower, library } from "./wiring";

follower.start();
void library.refresh();
render(<App />, document.getElementById("app")!);
