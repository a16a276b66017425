// Package failpoint names the places between two side effects, so that tests
// can have a daemon die at each of them, or fail, or hang.
//
// A [Point] is declared by the package that passes it:
//
//	var cloned = failpoint.New("pool/fill/cloned")
//
//	if err := cloned.Hit(ctx); err != nil {
//		return err
//	}
//
// Only a program built with the tag failpoints has points. In every other one
// they are nothing: no name, no call, no branch.
package failpoint

// Env is the variable by which a program that has points is told what befalls
// it where: [ParseFaults] says how. @FILE has it look at every point whether
// there is such a file, which it takes its orders from and removes.
const Env = "COPPICE_FAILPOINT"
