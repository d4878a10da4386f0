// Single-decree Paxos by hand: three acceptors, two proposers that want different things, one value chosen.
// What travels and what must be durable is plain data; here "the network" is a loop and "the disk" an array.
// Prints: ballot 3: chosen is blue
// Prints: ballot 5: chosen is blue, not red

import {
  type AcceptorState,
  answerAsAcceptor,
  newAcceptor,
  type PaxosReply,
  type PaxosRequest,
  Proposer,
} from 'quorate/consensus';

const disks: AcceptorState<string>[] = [newAcceptor, newAcceptor, newAcceptor];

/** Sends a request to the acceptors that are up, and collects their replies. */
function ask(up: readonly number[], request: PaxosRequest<string>): [number, PaxosReply<string>][] {
  return up.map((node) => {
    const { state, reply } = answerAsAcceptor(disks[node]!, request);
    disks[node] = state; // durable first…
    return [node, reply]; // …then the reply may leave
  });
}

/** Prepare, promise, accept, accepted. Without an answer it would try again after `backOff`. */
function choose(proposer: Proposer<string>, up: readonly number[]) {
  let request: PaxosRequest<string> | undefined = proposer.prepare();
  while (request !== undefined) {
    let next: PaxosRequest<string> | undefined;
    for (const [node, reply] of ask(up, request)) next = proposer.receive(node, reply) ?? next;
    request = next;
  }
  return proposer.chosen;
}

const nodes = disks.length;
const blue = choose(new Proposer({ node: 0, nodes, value: 'blue' }), [0, 1]); // node 2 is down
console.log(`ballot ${blue?.ballot}: chosen is ${blue?.value}`);

// Node 0 is down now. Node 2 wants red, and finds in node 1's promise what may have been chosen already.
const later = choose(new Proposer({ node: 2, nodes, value: 'red' }), [1, 2]);
console.log(`ballot ${later?.ballot}: chosen is ${later?.value}, not red`);
