// Package docker runs nodes on one Docker engine, over the Engine API. The API version is
// negotiated with the engine, from 1.40 on.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/singleflight"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Options say which engine, and how it is reached.
type Options struct {
	// Host is unix:///path, tcp://host:port or, on Windows, npipe://path. Plain tcp is refused
	// beyond loopback.
	Host string
	// TLS secures a tcp host; nil is none.
	TLS *TLS
	// Registries are the credentials by registry host, for example ghcr.io; Docker Hub is docker.io.
	Registries map[string]Credentials
	// Timeout is how long an engine may be silent before it counts as unreachable; 10 s when zero.
	Timeout time.Duration
	// Now is the clock that files are stamped by; time.Now when nil.
	Now func() time.Time
}

// TLS holds PEM blocks. Certificate and Key are this client's own and come together.
type TLS struct {
	// CA are the roots that the engine's certificate is verified with; empty: the system's.
	CA               []byte
	Certificate, Key []byte
}

// String keeps the key out of whatever prints it.
func (*TLS) String() string { return "TLS material" }

// GoString keeps the key out of %#v.
func (t *TLS) GoString() string { return t.String() }

// Credentials are a registry user and the password or token.
type Credentials struct{ Username, Password string }

// String keeps the password out of whatever prints it.
func (c Credentials) String() string { return "credentials of " + c.Username }

// GoString keeps the password out of %#v.
func (c Credentials) GoString() string { return c.String() }

const (
	defaultTimeout = 10 * time.Second
	// maxConnections bounds the pool; a wait for a node's end holds a connection for as long as it takes.
	maxConnections = 64
	// maxTurns bounds starts, stops and removals at once: engines miscount or leak the endpoints of a
	// network that many containers join and leave together, and then refuse to remove it.
	maxTurns = 8
	// maxInspects bounds the reads that one listing fans out into.
	maxInspects = 8
)

// Engine is one Docker engine. It is safe for concurrent use.
type Engine struct {
	api     *client.Client
	probe   *client.Client
	address address
	options Options
	// pullSilence is the constant of that name, but for tests.
	pullSilence time.Duration
	// answerTime is the constant of that name, but for tests.
	answerTime time.Duration
	// networkHolders is the constant of that name, but for tests.
	networkHolders time.Duration

	connecting singleflight.Group
	connected  atomic.Bool
	turns      chan struct{}
	// declared caches the VOLUMEs of images by image ID, which names immutable content.
	declared sync.Map
	// bound caches the ports of containers that do not run, by container ID: they never change.
	bound portCache
	// reached caches where published ports are reached, for a moment.
	reached targetCache
}

var _ engine.Engine = (*Engine)(nil)

// New prepares an engine; it is contacted by the first call that needs it. It fails for a host that
// is no address, that is not supported, or that is not safe to use.
func New(options Options) (*Engine, error) {
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	registries := make(map[string]Credentials, len(options.Registries))
	for host, credentials := range options.Registries {
		registries[registryHost(host)] = credentials
	}
	options.Registries = registries
	addr, err := parseAddress(options.Host, options.TLS != nil)
	if err != nil {
		return nil, fmt.Errorf("unable to use docker host %q: %w", options.Host, err)
	}
	e := &Engine{address: addr, options: options, pullSilence: pullSilence, answerTime: answerTime, networkHolders: networkHolders, turns: make(chan struct{}, maxTurns)}
	if e.api, err = e.newClient(maxConnections); err != nil {
		return nil, fmt.Errorf("unable to use docker host %q: %w", options.Host, err)
	}
	// The probe has connections of its own: it must get through when the pool is exhausted.
	if e.probe, err = e.newClient(0); err != nil {
		return nil, fmt.Errorf("unable to use docker host %q: %w", options.Host, err)
	}
	return e, nil
}

// Close frees the connections.
func (e *Engine) Close() error {
	return errors.Join(e.api.Close(), e.probe.Close())
}

// Info implements engine.Engine with GET /info.
func (e *Engine) Info(ctx context.Context) (engine.Info, error) {
	var result client.SystemInfoResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		result, err = e.api.Info(ctx, client.InfoOptions{})
		return err
	})
	if err != nil {
		return engine.Info{}, fmt.Errorf("unable to read what the engine is: %w", err)
	}
	return engine.Info{
		ID: result.Info.ID, Name: result.Info.Name, Version: result.Info.ServerVersion, Address: e.options.Host,
	}, nil
}

// ownerOf gives the owner that labels name. Nothing is made without one: it could not be told from
// somebody else's afterwards.
func ownerOf(labels map[string]string) (string, error) {
	owner := labels[engine.LabelOwner]
	if owner == "" {
		return "", errors.New("its labels name no owner")
	}
	return owner, nil
}

// requireOwner refuses an object of somebody else. An object without an owner belongs to nobody
// here, whatever owner is asked for.
func requireOwner(kind, name string, labels map[string]string, owner string) error {
	if have := labels[engine.LabelOwner]; have == "" || have != owner {
		return &engine.ForeignError{Kind: kind, Name: name, Owner: have}
	}
	return nil
}

// carries tells whether labels hold all of the wanted ones.
func carries(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}

func labelFilter(labels map[string]string) client.Filters {
	filters := client.Filters{}
	for key, value := range labels {
		filters.Add("label", key+"="+value)
	}
	return filters
}

// address is where an engine is.
type address struct {
	// scheme is unix, npipe or tcp; host is empty unless tcp.
	scheme, host string
	// local tells that the engine's host is taken to be the one that we run on.
	local bool
}

func parseAddress(host string, secured bool) (address, error) {
	if host == "" {
		return address{}, errors.New("it is empty")
	}
	u, err := client.ParseHostURL(host)
	if err != nil {
		return address{}, errors.New("it is not of the form unix:///path or tcp://host:port")
	}
	switch u.Scheme {
	case "unix", "npipe":
		if secured {
			return address{}, fmt.Errorf("TLS does not apply to a %s address", u.Scheme)
		}
		return address{scheme: u.Scheme, local: true}, nil
	case "tcp":
		name, _, err := net.SplitHostPort(u.Host)
		if err != nil || name == "" {
			return address{}, errors.New("it needs a host and a port, as in tcp://127.0.0.1:2376")
		}
		local := loopback(name)
		if !local && !secured {
			return address{}, errors.New("plain tcp beyond loopback would hand everybody on the way every key of the network: use TLS")
		}
		return address{scheme: u.Scheme, host: name, local: local}, nil
	case "ssh":
		return address{}, errors.New("ssh is not supported")
	default:
		return address{}, fmt.Errorf("scheme %q is not supported", u.Scheme)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
