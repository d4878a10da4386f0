// Reads histories, one JSON object a line, and prints Porcupine's verdict on each: linearizable,
// not-linearizable or unknown (its time was up). Our own checker is compared with it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

const timeout = 500 * time.Millisecond

type line struct {
	Model   string
	History []operation
}

type operation struct {
	Client int
	Call   int64
	Return *int64 // nil: the outcome is unknown
	Input  input
	Output *output // nil: the answer is unknown
}

type input struct {
	Op            string
	Key           string
	Value         *string
	From          *string
	IfModRevision int64
}

type output struct {
	Value     *string
	Values    []string
	Succeeded *bool
	Deleted   *bool
	Revision  int64 // 0: not answered
	Found     *found
}

type found struct {
	Value       *string
	ModRevision int64
}

var models = map[string]porcupine.Model{
	"register": model("-", func(state string, in input, out *output) (bool, string) {
		switch in.Op {
		case "read":
			return out == nil || text(out.Value) == state, state
		case "write":
			return true, text(in.Value)
		case "delete":
			return true, text(nil)
		}
		fits := state == text(in.From)
		if out != nil && *out.Succeeded != fits {
			return false, state
		}
		if fits {
			return true, text(in.Value)
		}
		return true, state
	}),
	"list": model("", func(state string, in input, out *output) (bool, string) {
		if in.Op == "append" {
			return true, state + "," + *in.Value
		}
		if out == nil {
			return true, state
		}
		read := ""
		for _, value := range out.Values {
			read += "," + value
		}
		return read == state, state
	}),
	"kv": model(kv{exact: true, value: "-"}, stepKv),
}

// text tells nothing from the empty text.
func text(value *string) string {
	if value == nil {
		return "-"
	}
	return "=" + *value
}

// kv is one key: what it holds, and the revision of its last change, or a bound below it.
type kv struct {
	value    string
	revision int64
	exact    bool
}

func stepKv(state kv, in input, out *output) (bool, kv) {
	if out == nil {
		out = &output{}
	}
	present := state.value != "-"
	switch in.Op {
	case "get":
		return out.Found == nil || state.holds(out.Found), state.learned(out.Found)
	case "put":
		return state.change(text(in.Value), out.Revision)
	case "delete":
		if out.Deleted != nil && *out.Deleted != present {
			return false, state
		}
		if !present {
			return true, state
		}
		return state.change("-", out.Revision)
	}
	// Which of the two is certain, and which one it was, where the answer is unknown.
	could, couldNot := false, false
	switch {
	case !present:
		could, couldNot = in.IfModRevision == 0, in.IfModRevision != 0
	case state.exact:
		could, couldNot = in.IfModRevision == state.revision, in.IfModRevision != state.revision
	default:
		could, couldNot = in.IfModRevision > state.revision, true
	}
	succeeded := could
	if out.Succeeded != nil {
		succeeded = *out.Succeeded
	}
	if (succeeded && !could) || (!succeeded && !couldNot) {
		return false, state
	}
	if !succeeded {
		return out.Found == nil || state.holds(out.Found), state.learned(out.Found)
	}
	if present {
		state = kv{state.value, in.IfModRevision, true}
	}
	if in.Value == nil && !present {
		return true, state
	}
	return state.change(text(in.Value), out.Revision)
}

func (state kv) change(value string, revision int64) (bool, kv) {
	least := state.revision + 1
	if !state.exact {
		least++
	}
	if revision == 0 {
		return true, kv{value, least - 1, false}
	}
	return revision >= least, kv{value, revision, true}
}

func (state kv) holds(read *found) bool {
	if text(read.Value) != state.value {
		return false
	}
	if state.value == "-" {
		return read.ModRevision == 0
	}
	return read.ModRevision == state.revision || !state.exact && read.ModRevision > state.revision
}

func (state kv) learned(read *found) kv {
	if read == nil || state.value == "-" {
		return state
	}
	return kv{state.value, read.ModRevision, true}
}

func model[S comparable](init S, step func(S, input, *output) (bool, S)) porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return init },
		Step: func(state, in, out interface{}) (bool, interface{}) {
			ok, next := step(state.(S), in.(input), out.(*output))
			return ok, next
		},
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, each := range history {
				key := each.Input.(input).Key
				byKey[key] = append(byKey[key], each)
			}
			parts := [][]porcupine.Operation{}
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for in.Scan() {
		var each line
		if err := json.Unmarshal(in.Bytes(), &each); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		model, known := models[each.Model]
		if !known {
			fmt.Fprintf(os.Stderr, "no model %q\n", each.Model)
			os.Exit(2)
		}
		history := []porcupine.Operation{}
		for _, op := range each.History {
			end, answer := int64(math.MaxInt64), (*output)(nil)
			if op.Return != nil {
				end, answer = *op.Return, op.Output
			}
			history = append(history, porcupine.Operation{
				ClientId: op.Client, Input: op.Input, Call: op.Call, Output: answer, Return: end,
			})
		}
		switch porcupine.CheckOperationsTimeout(model, history, timeout) {
		case porcupine.Ok:
			fmt.Fprintln(out, "linearizable")
		case porcupine.Illegal:
			fmt.Fprintln(out, "not-linearizable")
		default:
			fmt.Fprintln(out, "unknown")
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
