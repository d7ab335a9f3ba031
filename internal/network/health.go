package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/operations"
)

// Unhealthy is the state of a node that runs, but says that it is not well, or does not answer.
const Unhealthy engine.Status = "unhealthy"

// healthPatience is how long a node may say nothing good before it counts as unhealthy: one that has
// just started, or is short of processor time for a moment, is well within it.
const healthPatience = 10 * time.Second

// healthTime is how long one answer may take.
const healthTime = 3 * time.Second

// ailment tells why a node that runs is not well, by the word of its operations endpoint or for want
// of one; nil when it is well, and as long as that cannot be known. Port is that of the endpoint in the
// node; 0: it has none.
func (f *Fabric) ailment(ctx context.Context, h Handle, current engine.Node, port int) error {
	if current.Status != engine.Running || port == 0 || f.healthPatience == 0 {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, f.healthPatience)
	defer cancel()
	var last error
	err := poll(patient, func(ctx context.Context) error {
		last = f.health(ctx, h, port)
		return last
	})
	if err == nil || ctx.Err() != nil || errors.Is(last, errUnasked) {
		return nil
	}
	return last
}

// errUnasked: a node cannot be asked from here, which says nothing of it.
var errUnasked = errors.New("its operations endpoint cannot be asked")

// health asks a node once whether it is well.
func (f *Fabric) health(ctx context.Context, h Handle, port int) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	client, err := f.operationsOf(ctx, h, port)
	if err == nil {
		err = apartFromDocker(client.Health(ctx))
	} else {
		err = permanent(fmt.Errorf("%w: %w", errUnasked, err))
	}
	if errors.Is(err, engine.ErrNotPublished) {
		err = permanent(fmt.Errorf("%w: %w", errUnasked, err))
	}
	return err
}

// apartFromDocker leaves out of what a peer has against itself that it has no Docker daemon to build
// chaincode with: peers of others are set up for one and do without, when their chaincode runs as a service.
func apartFromDocker(err error) error {
	unwell := new(operations.UnhealthyError)
	if !errors.As(err, &unwell) || len(unwell.Failed) == 0 {
		return err
	}
	for _, check := range unwell.Failed {
		if check.Component != "docker" {
			return err
		}
	}
	return nil
}

// operationsOf gives the client of a node's operations service.
func (f *Fabric) operationsOf(ctx context.Context, h Handle, port int) (*operations.Client, error) {
	client, err := f.operationsClient(ctx, h, port)
	if err != nil {
		return nil, err
	}
	return &operations.Client{BaseURL: fmt.Sprintf("https://%s:%d", h.Host(), port), HTTP: client}, nil
}
