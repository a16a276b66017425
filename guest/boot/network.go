package boot

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/coppice-vm/coppice"
)

// networkCard is the name of the guest's one network card.
const networkCard = "eth0"

// setUpNetwork gives the network card, if there is one, the address that every
// guest has. Here it takes no time, and init finds a network that works.
func setUpNetwork() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, setting := range []struct {
		request uint
		value   func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(coppice.GuestAddress.Addr().AsSlice()) }},
		{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(netmask(coppice.GuestAddress)) }},
		{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(networkCard)
		if err != nil {
			return err
		}
		if err := setting.value(r); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, setting.request, r); errors.Is(err, unix.ENODEV) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return addDefaultRoute(s, coppice.GuestRouter)
}

func netmask(p netip.Prefix) []byte {
	bits := ^uint32(0) << (32 - p.Bits())
	return []byte{byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)}
}

// A route is the kernel's struct rtentry.
type route struct {
	_                     uint64
	dst, gateway, genmask unix.RawSockaddrInet4
	flags                 uint16
	_                     int16
	_, _                  uint64
	metric                int16
	dev                   unsafe.Pointer
	mtu, window           uint64
	irtt                  uint16
}

func addDefaultRoute(s int, router netip.Addr) error {
	r := route{
		dst:     unix.RawSockaddrInet4{Family: unix.AF_INET},
		gateway: unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: router.As4()},
		genmask: unix.RawSockaddrInet4{Family: unix.AF_INET},
		flags:   unix.RTF_UP | unix.RTF_GATEWAY,
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}
