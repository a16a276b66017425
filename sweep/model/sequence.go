package model

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Acts returns what was asked, in the order in which it was.
func Acts(calls []Call) (acts []Act) {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.Begin, b.Begin) })
	end := time.Duration(0)
	for _, c := range calls {
		c.After = len(acts) > 0 && c.Begin > end
		acts, end = append(acts, c.Act), max(end, c.End)
	}
	return acts
}

// Minimise returns as few of acts as still fail, when leaving out any one of them
// makes them not fail, and of these as few as can be at the same time. Acts are left
// out by halves, quarters and so on, as delta debugging does.
func Minimise(acts []Act, fail func([]Act) bool) []Act {
	for size := (len(acts) + 1) / 2; size > 0; {
		before := len(acts)
		for i := 0; i < len(acts); {
			if fewer := without(acts, i, min(i+size, len(acts))); fail(fewer) {
				acts = fewer
			} else {
				i += size
			}
		}
		if size > 1 || len(acts) == before {
			size /= 2
		}
	}
	for i := 1; i < len(acts); i++ {
		later := slices.Clone(acts)
		later[i].After = true
		if !acts[i].After && fail(later) {
			acts = later
		}
	}
	return acts
}

// without returns acts without some. What comes then still comes after all that did
// before those.
func without(acts []Act, from, to int) []Act {
	rest := slices.Concat(acts[:from], acts[to:])
	if from == 0 && len(rest) > 0 {
		rest[0].After = false
	} else if from < len(rest) {
		rest[from].After = rest[from].After || slices.ContainsFunc(acts[from:to], func(a Act) bool { return a.After })
	}
	return rest
}

// Format writes acts as lines that [Parse] reads: a client's number, the verb, what to
// keep or write. A line that begins with "then" is asked for after all before it.
func Format(acts []Act) string {
	var b strings.Builder
	for _, a := range acts {
		if a.After {
			b.WriteString("then ")
		}
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprint(a.Client, " ", a.Verb, " ", a.Arg)))
	}
	return b.String()
}

// Parse reads what [Format] writes, and leaves out lines that begin with "#".
func Parse(text string) (acts []Act, err error) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		a := Act{After: words[0] == "then"}
		if a.After {
			words = words[1:]
		}
		if len(words) < 2 || len(words) > 3 {
			return nil, fmt.Errorf("%q is not [then] CLIENT VERB [VALUE]", line)
		}
		if a.Client, err = strconv.Atoi(words[0]); err != nil {
			return nil, fmt.Errorf("%q does not begin with the number of a client", line)
		}
		a.Verb = words[1]
		a.Arg = strings.Join(words[2:], "")
		acts = append(acts, a)
	}
	return acts, nil
}
