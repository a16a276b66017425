package pool

import (
	"cmp"
	"context"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/coppice-vm/coppice"
)

// nobody stands for the files that are of no thing that is measured.
const nobody = -1

// DiskFootprints implements [coppice.DiskMeter].
func (p *Pool) DiskFootprints(ctx context.Context, things [][]string) ([]coppice.Footprint, error) {
	footprints, err := p.measure(ctx, things)
	return footprints, failure("measure files", err)
}

func (p *Pool) measure(ctx context.Context, things [][]string) ([]coppice.Footprint, error) {
	owners := map[string][]int{}
	for thing, files := range things {
		for _, name := range files {
			owners[name] = append(owners[name], thing)
		}
	}
	footprints := make([]coppice.Footprint, len(things))
	var ends []end
	err := filepath.WalkDir(p.root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err) // it has been removed meanwhile
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !entry.Type().IsRegular():
			return nil
		}
		of, ok := owners[name]
		if !ok {
			of = []int{nobody}
		}
		extents, err := extentsOf(name)
		for _, e := range extents {
			for _, thing := range of {
				switch {
				case e.shared:
					ends = append(ends, end{e.at, thing, 1}, end{e.at + e.size, thing, -1})
				case thing == nobody:
				case len(of) == 1:
					footprints[thing].Own += e.size
				default:
					footprints[thing].Shared += e.size
				}
			}
		}
		return ignoreMissing(err)
	})
	count(ends, footprints)
	return footprints, err
}

// An end of an extent that files share: where it is on the device, of which
// thing's files, and whether it begins (1) or ends (-1) there.
type end struct {
	at    int64
	thing int
	step  int
}

// count adds what is between the ends to the footprints of the things that have it.
func count(ends []end, footprints []coppice.Footprint) {
	slices.SortFunc(ends, func(a, b end) int { return cmp.Compare(a.at, b.at) })
	here := map[int]int{} // how many files of each thing have what is at this place
	for i, e := range ends {
		if here[e.thing] += e.step; here[e.thing] == 0 {
			delete(here, e.thing)
		}
		if i+1 == len(ends) || ends[i+1].at == e.at {
			continue
		}
		size := ends[i+1].at - e.at
		for thing := range here {
			switch {
			case thing == nobody:
			case len(here) == 1:
				footprints[thing].Own += size
			default:
				footprints[thing].Shared += size
			}
		}
	}
}
