/** A change of the members that was answered holds, also where the machine stops right after. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { idOf, type Name, VirtualCluster } from './test-cluster.ts';

const NAMES: readonly Name[] = ['a', 'b', 'c'];

test('the last of three whose others were removed leads after a loss of power, without them', async () => {
  const first = new VirtualCluster();
  await first.open(...NAMES);
  await first.propose('x');
  const leading = (): boolean => first.nodes.get('a')!.replica.leading;
  const { replica } = first.leader!;
  if (!leading()) void replica.transferLeadership(idOf('a')).catch(() => undefined);
  assert.ok(await first.until(leading));
  const { replica: last } = first.nodes.get('a')!;
  for (const name of ['b', 'c'] as const) {
    const change = last.changeMembers([{ kind: 'remove', id: idOf(name) }]);
    await first.ended(change, `the removal of ${name}`);
  }
  const disk = first.disks.a.afterCrash(seededRandom(1));
  await first.close();

  const again = new VirtualCluster({ ...first.disks, a: disk });
  await again.open('a');
  await again.propose('y');
  assert.deepEqual(again.journals(), [['x', 'y']]);
  await again.close();
});
