// Builds the app's parts once; everything else gets them from here.
import { browserDeps, Client } from "./api/client";
import { Connection, healthProbe } from "./state/connection";
import { Drafts } from "./state/drafts";
import { Follower } from "./state/follow";
import { LibraryStore } from "./state/library";
import { Notices } from "./state/notices";
import { Uploads } from "./upload/uploads";

const origin = document.querySelector<HTMLMetaElement>('meta[name="reel-api"]')!.content;

export const connection = new Connection(healthProbe(origin));
export const client = new Client(browserDeps(origin, connection));
export const library = new LibraryStore(client);
export const uploads = new Uploads(client, library);
export const drafts = new Drafts(sessionStorage, () => client.newKey());
export const notices = new Notices();
export const follower = new Follower(client, library, connection);
