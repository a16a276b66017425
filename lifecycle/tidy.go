package lifecycle

import (
	"errors"
	"slices"
	"time"

	"github.com/coppice-vm/coppice"
)

// How long after something could not be done that is tried again: at first, and
// at most.
const (
	tidySoon  = 100 * time.Millisecond
	tidyLater = time.Minute
)

// untidy says that something could not be removed when it should have been.
func (m *Manager) untidy() {
	select {
	case m.litter <- struct{}{}:
	default: // it has been said
	}
}

// keepTidy has removed what could not be removed at its time, until the daemon leaves.
func (m *Manager) keepTidy() {
	for wait := tidySoon; ; {
		select {
		case <-m.litter:
		case <-m.base.Done():
			return
		}
		select {
		case <-time.After(wait):
		case <-m.base.Done():
			return
		}
		select { // what was said meanwhile is seen to as well
		case <-m.litter:
		default:
		}
		switch left, err := m.tidy(); {
		case left || err != nil:
			wait = min(2*wait, tidyLater)
			m.untidy()
		default:
			wait = tidySoon
		}
	}
}

// tidy repairs what can be repaired, and reports whether some of that is left.
func (m *Manager) tidy() (left bool, err error) {
	templatesErr := m.removeTemplateVMs()
	found, err := m.Audit(m.base, true)
	left = slices.ContainsFunc(found, func(d coppice.Discrepancy) bool { return d.Repairable && !d.Repaired })
	return left, errors.Join(templatesErr, err)
}

// removeTemplateVMs removes the VMs that templates were made of.
func (m *Manager) removeTemplateVMs() error {
	m.templating.Lock() // so that they are nobody's any more
	defer m.templating.Unlock()
	vms, err := m.Store.VMs(m.base, coppice.VMFilter{Account: coppice.SystemAccount})
	for _, vm := range vms {
		_, deleteErr := m.Delete(m.base, coppice.SystemAccount, vm.ID)
		err = errors.Join(err, deleteErr)
	}
	return err
}
