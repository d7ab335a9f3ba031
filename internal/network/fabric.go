// Package network holds the use cases: what it takes to start a peer, to create a channel, to
// release a chaincode. Each reads from top to bottom in the order in which it happens. It is plain
// Go, composed from engine (where nodes run), fabric/* (what Fabric speaks) and keystore (where
// private keys live); it knows neither Terraform nor Docker.
package network

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Fabric runs Fabric networks on an engine. It is safe for concurrent use.
type Fabric struct {
	engine engine.Engine
	log    *slog.Logger
	ports  portAllocator
	stores storeCache
	conns  connections
	locks  keyedMutex
	seen   sightings
	info   func(context.Context) (engine.Info, error)
	leases leases
	rolls  rolls
	// furnished are the certificates that nodes were furnished with by this process, by object and file.
	furnished sync.Map
	// healthPatience is the constant of that name but in tests; with 0 no node is asked.
	healthPatience time.Duration
	// orderPatience is the constant of that name but in tests.
	orderPatience time.Duration
	// adopted holds the owners whose objects are taken back, see Adopt.
	adopted sync.Map
	// answered are the transactions that this process has given to somebody, submitted or found.
	answered sync.Map
}

// New gives the use cases over an engine.
func New(e engine.Engine) *Fabric {
	f := &Fabric{
		engine: e, log: slog.New(slog.DiscardHandler), leases: newLeases(), healthPatience: healthPatience, orderPatience: orderPatience,
		rolls: rolls{patience: siblingPatience, ordererPatience: ordererPatience},
	}
	f.info = onceSuccessful(e.Info)
	f.ports.engine, f.ports.yield = e, yieldTime
	return f
}

// Close frees the connections to nodes and to the engine.
func (f *Fabric) Close() error {
	f.conns.close()
	return f.engine.Close()
}

// EngineID identifies the engine, the same over its restarts.
func (f *Fabric) EngineID(ctx context.Context) (string, error) {
	info, err := f.info(ctx)
	return info.ID, err
}

// VerifyEngine fails with ErrOtherEngine when the engine is not the one with that ID: its objects
// are not gone, they are elsewhere.
func (f *Fabric) VerifyEngine(ctx context.Context, id string) error {
	info, err := f.info(ctx)
	if err != nil {
		return err
	}
	if id != "" && info.ID != id {
		return fmt.Errorf("engine %s (%s) at %s is not the engine %s that holds this: %w",
			info.Name, info.ID, info.Address, id, ErrOtherEngine)
	}
	return nil
}

// onceSuccessful remembers the first success of a call; failures are tried again.
func onceSuccessful[T any](call func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var value T
	var done bool
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if done {
			return value, nil
		}
		v, err := call(ctx)
		if err == nil {
			value, done = v, true
		}
		return v, err
	}
}

// keyedMutex serialises work on one thing, by name: Terraform asks for ten things at once.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

// lock waits for the thing and gives the function that frees it.
func (k *keyedMutex) lock(name string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*sync.Mutex{}
	}
	l := k.locks[name]
	if l == nil {
		l = &sync.Mutex{}
		k.locks[name] = l
	}
	k.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// grace is how long a node has to end by itself before it is killed. Fabric's nodes take about 0.15 s.
const grace = 20 * time.Second
