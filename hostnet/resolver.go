package hostnet

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"

	"github.com/coppice-vm/coppice"
)

const (
	resolvConf = "/etc/resolv.conf"
	// maxQuestions is how many questions of one guest are being answered at a time.
	maxQuestions = 64
	// maxConns is how many connections a guest may have to ask by; more wait for
	// one to end.
	maxConns = 16
	// upstreamTime is how long one of the host's resolvers may take.
	upstreamTime = 4 * time.Second
	// An address may be reached as long as its name is known to have it, and at
	// least so long: not all programs ask again as soon as they should.
	minLifetime = 10 * time.Minute
	maxLifetime = 24 * time.Hour
)

// A resolver answers a guest's questions for names, by asking the host's
// resolvers. It is where names become addresses that may be reached.
type resolver struct {
	upstreams func() ([]string, error)
	log       *slog.Logger
	turns     chan struct{}
	servers   []*dns.Server
	ended     []chan struct{}

	mu     sync.Mutex // held while the rules are being told of an address, and guards:
	ns     *os.File   // nil when it is closed
	egress coppice.Egress
}

// obey has the resolver answer by a policy. What it has allowed by another, it
// has allowed when obey returns.
func (r *resolver) obey(egress coppice.Egress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.egress = egress
}

func (r *resolver) policy() coppice.Egress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.egress
}

// newResolver returns a resolver in a namespace, which it does not close.
func (n *Network) newResolver(ns *os.File, egress coppice.Egress) (*resolver, error) {
	r := &resolver{ns: ns, egress: egress, upstreams: n.upstreams, log: n.Log, turns: make(chan struct{}, maxQuestions)}
	if err := r.serve(); err != nil {
		return nil, fmt.Errorf("resolve names: %w", err)
	}
	return r, nil
}

// upstreams returns the addresses of resolvers to ask.
func (n *Network) upstreams() ([]string, error) {
	var servers []string
	for _, r := range n.Resolvers {
		servers = append(servers, r.String())
	}
	if servers != nil {
		return servers, nil
	}
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, err
	}
	for _, s := range config.Servers {
		servers = append(servers, net.JoinHostPort(s, cmp.Or(config.Port, strconv.Itoa(dnsPort))))
	}
	return servers, nil
}

// serve listens in the namespace.
func (r *resolver) serve() error {
	address := netip.AddrPortFrom(coppice.GuestRouter, dnsPort)
	var udp *net.UDPConn
	var tcp *net.TCPListener
	if err := inside(r.ns, func() (err error) {
		if udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address)); err != nil {
			return err
		}
		if tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(address)); err != nil {
			udp.Close()
		}
		return err
	}); err != nil {
		return err
	}
	r.servers = []*dns.Server{{PacketConn: udp, Handler: r}, {Listener: netutil.LimitListener(tcp, maxConns), Handler: r}}
	for _, s := range r.servers {
		started, ended := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			s.ActivateAndServe()
		}()
		<-started
		r.ended = append(r.ended, ended)
	}
	return nil
}

// close ends the answering.
func (r *resolver) close() {
	r.mu.Lock()
	r.ns = nil
	r.mu.Unlock()
	over, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits for an answer that is on its way
	for i, s := range r.servers {
		s.ShutdownContext(over)
		<-r.ended[i]
	}
}

// ServeDNS implements [dns.Handler].
func (r *resolver) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	default:
		return // a guest that asks so much can ask again
	}
	w.WriteMsg(r.answer(question, w.LocalAddr().Network()))
}

// answer returns the answer to a question that was asked over a network.
func (r *resolver) answer(question *dns.Msg, network string) *dns.Msg {
	if len(question.Question) != 1 || question.Opcode != dns.OpcodeQuery {
		return new(dns.Msg).SetRcode(question, dns.RcodeNotImplemented)
	}
	asked := question.Question[0]
	egress := r.policy()
	switch {
	case !egress.Resolves(asked.Name):
		return new(dns.Msg).SetRcode(question, dns.RcodeRefused)
	case asked.Qtype == dns.TypeAAAA, asked.Qtype == dns.TypeHTTPS, asked.Qtype == dns.TypeSVCB:
		// There is no IPv6, nor are addresses got but by asking for them.
		return new(dns.Msg).SetReply(question)
	}
	answer, err := r.ask(question, network)
	if err == nil && !egress.Open() {
		err = r.learn(asked.Name, answer)
	}
	if err != nil {
		r.log.Warn("a guest's question for a name could not be answered", "name", asked.Name, "error", err)
		return new(dns.Msg).SetRcode(question, dns.RcodeServerFailure)
	}
	return answer
}

// ask asks the host's resolvers, one after the other.
func (r *resolver) ask(question *dns.Msg, network string) (*dns.Msg, error) {
	servers, err := r.upstreams()
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("the host has no resolver in %s", resolvConf)
	client := dns.Client{Net: network, Timeout: upstreamTime, UDPSize: dns.MaxMsgSize}
	forwarded := question.Copy()
	forwarded.Id = dns.Id()
	for _, server := range servers {
		var answer *dns.Msg
		if answer, _, err = client.Exchange(forwarded, server); err == nil {
			answer.Id = question.Id
			return answer, nil
		}
	}
	return nil, err
}

// learn allows the public addresses in the answer for a name.
func (r *resolver) learn(name string, answer *dns.Msg) error {
	var addresses []netip.Addr
	lifetime := maxLifetime
	for _, record := range answer.Answer {
		a, ok := record.(*dns.A)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(a.A.To4()); ok && coppice.PublicAddress(addr) {
			addresses = append(addresses, addr)
			lifetime = min(lifetime, max(minLifetime, time.Duration(a.Hdr.Ttl)*time.Second))
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ns == nil || r.egress.Names(name) == "" {
		return nil // the policy has changed meanwhile
	}
	return inside(r.ns, func() error { return learn(name, addresses, lifetime) })
}
