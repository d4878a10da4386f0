/** The key-value suite on nodes that run Raft. */
import { embeddedSuite } from './embedded.ts';

embeddedSuite('raft');
