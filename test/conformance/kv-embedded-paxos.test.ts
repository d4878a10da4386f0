/** The key-value suite on nodes that run Multi-Paxos. */
import { embeddedSuite } from './embedded.ts';

embeddedSuite('paxos');
