/** A replica of somebody's state machine as what lives on a seat. */
import { openReplica } from '../../../consensus/open-replica.ts';
import type { MemberChange } from '../../../consensus/replica/member-change.ts';
import type { MemberInfo } from '../../../consensus/replica/members.ts';
import type { Replica } from '../../../consensus/replica/replica.ts';
import type { StateMachine } from '../../../consensus/state-machine.ts';
import type { WaitOptions } from '../../../core/abort.ts';
import type { NodeOptions, QuorateNode } from '../../../node.ts';
import type { ObservedMachine } from './observed-machine.ts';

export class MachineNode<Result, Machine extends StateMachine<Result>>
  implements Pick<QuorateNode, 'members' | 'changeMembers'>
{
  readonly failed: Promise<Error>;
  readonly machine: Machine;
  readonly replica: Replica<Result>;
  readonly #clusterId: string;

  private constructor(
    machine: Machine,
    replica: Replica<Result>,
    clusterId: string,
    failed: Promise<Error>,
  ) {
    this.machine = machine;
    this.replica = replica;
    this.failed = failed;
    this.#clusterId = clusterId;
  }

  /** Opens a replica with the options of a node, as far as they are a replica's. */
  static async open<Result, Machine extends StateMachine<Result>>(
    options: NodeOptions,
    observed: ObservedMachine<Result, Machine>,
  ): Promise<MachineNode<Result, Machine>> {
    const failed = Promise.withResolvers<Error>();
    const { replica, clusterId } = await openReplica<Result>({
      ...options,
      machine: observed,
      events: {
        onChange: (status) => {
          options.log?.('info', `${status.role} in term ${status.term}`);
        },
        onFailed: failed.resolve,
      },
    });
    return new MachineNode<Result, Machine>(observed.inner, replica, clusterId, failed.promise);
  }

  status() {
    return { ...this.replica.status(), clusterId: this.#clusterId };
  }

  members(): readonly MemberInfo[] {
    return this.replica.members.list();
  }

  changeMembers(
    changes: readonly MemberChange[],
    options?: WaitOptions,
  ): Promise<readonly MemberInfo[]> {
    return this.replica.changeMembers(changes, options);
  }

  /** What the nemesis asks of a node, by the names that nodes with a store have for it. */
  readonly backend = {
    memberList: (): Promise<void> => this.replica.readBarrier(),
    moveLeader: ({ targetId }: { readonly targetId: bigint }): Promise<void> =>
      this.replica.transferLeadership(targetId.toString(16).padStart(16, '0')),
  };

  close(): Promise<void> {
    return this.replica.close();
  }
}
