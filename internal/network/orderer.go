package network

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// The ports on which an orderer listens; consenters speak with each other on ordererPort too.
const (
	ordererPort           = 7050
	ordererAdminPort      = 7053
	ordererOperationsPort = 9443
)

// OrdererPorts are the published ports of an orderer by purpose.
func OrdererPorts() map[string]int {
	return map[string]int{"grpc": ordererPort, "admin": ordererAdminPort, "operations": ordererOperationsPort}
}

// OrdererSpec is one node of an ordering cluster.
type OrdererSpec struct {
	Handle Handle
	NodeOptions
	Version nodeconfig.Version
	Config  nodeconfig.Overlay
	// Cluster is the name of the ordering cluster.
	Cluster string
}

// PreflightOrdererCluster finds what would fail before anything is made.
func (f *Fabric) PreflightOrdererCluster(ctx context.Context, specs map[string]OrdererSpec) error {
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		n, err := f.ordererNode(specs[name])
		if err != nil {
			return err
		}
		if err := f.preflight(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// EnsureOrdererCluster makes the nodes of a cluster as they are wanted, all at once, and waits until
// each answers. Nodes that were made are in the answer also when another one failed.
func (f *Fabric) EnsureOrdererCluster(ctx context.Context, specs map[string]OrdererSpec) (map[string]MemberState, error) {
	states := map[string]MemberState{}
	var mu sync.Mutex
	group, gctx := errgroup.WithContext(ctx)
	for name, spec := range specs {
		group.Go(func() error {
			n, err := f.ordererNode(spec)
			if err != nil {
				return err
			}
			state, err := f.ensureMember(gctx, n)
			mu.Lock()
			defer mu.Unlock()
			states[name] = state
			return err
		})
	}
	return states, group.Wait()
}

func ordererConfig(h Handle) nodeconfig.Orderer {
	return nodeconfig.Orderer{
		MSPID: h.MSPID, MSPDir: keysFolder + "/msp",
		ListenAddress: listen(ordererPort),
		TLS:           nodeconfig.ServerTLS{CertFile: keysFolder + "/tls/cert.pem", KeyFile: keysFolder + "/tls/key.pem", RootFiles: []string{keysFolder + "/tls/root.pem"}},
		Cluster: nodeconfig.Cluster{
			ClientCertFile: keysFolder + "/tls/cert.pem", ClientKeyFile: keysFolder + "/tls/key.pem",
			RootFiles: []string{keysFolder + "/tls/root.pem"},
		},
		Admin:      operationsEndpoint(ordererAdminPort),
		Operations: operationsEndpoint(ordererOperationsPort),
		LedgerDir:  dataFolder + "/ledger", WALDir: dataFolder + "/etcdraft/wal", SnapDir: dataFolder + "/etcdraft/snapshot",
	}
}

// RenderOrderer gives the orderer.yaml of an orderer as it will run.
func RenderOrderer(spec OrdererSpec) ([]byte, error) {
	return nodeconfig.RenderOrderer(spec.Version, ordererConfig(spec.Handle), spec.Config)
}

func (f *Fabric) ordererNode(spec OrdererSpec) (*node, error) {
	h := spec.Handle
	config, err := RenderOrderer(spec)
	if err != nil {
		return nil, fmt.Errorf("unable to render orderer.yaml of %s: %w", h, err)
	}
	return &node{
		handle: h, options: spec.NodeOptions, endpoint: spec.Endpoint(h, ordererPort), ports: OrdererPorts(),
		labels:   map[string]string{labelCluster: spec.Cluster},
		inputs:   inputs(memberInputs{spec.NodeOptions, spec.Version.String(), spec.Config}),
		command:  []string{"orderer"},
		env:      map[string]string{"FABRIC_CFG_PATH": nodeRoot + "/config"},
		config:   map[string][]byte{"config/orderer.yaml": config},
		material: f.memberMaterial(h, "orderer", spec.hosts(h)),
		ready:    func(ctx context.Context) error { return f.ordererAnswers(ctx, h) },
	}, nil
}

// ordererAnswers asks the orderer for its channels and looks whether its service listens.
func (f *Fabric) ordererAnswers(ctx context.Context, h Handle) error {
	admin, err := f.participation(ctx, h)
	if err != nil {
		return err
	}
	if _, err := admin.List(ctx); err != nil {
		return err
	}
	conn, err := f.engine.Dial(ctx, h.Object(), ordererPort)
	if err != nil {
		return err
	}
	return conn.Close()
}

// ReadOrdererCluster reads the state of the nodes of a cluster, by name.
func (f *Fabric) ReadOrdererCluster(ctx context.Context, orderers map[string]Handle) (map[string]MemberState, error) {
	states := map[string]MemberState{}
	for name, h := range orderers {
		node, err := f.readNode(ctx, h, OrdererPorts())
		if err != nil {
			return nil, err
		}
		state := MemberState{NodeState: node}
		if node.Status == engine.Running { // one that does not answer can be read all the same
			if client, err := f.participation(ctx, h); err == nil {
				channels, err := client.List(ctx)
				state.HoldsLedger = err == nil && len(channels) > 0
			}
		}
		states[name] = state
	}
	return states, nil
}

// Orderers finds the nodes of an ordering cluster by their labels, in the order of their names.
func (f *Fabric) Orderers(ctx context.Context, cluster Handle) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelOwner: cluster.Owner, engine.LabelKind: string(KindOrderer), labelCluster: cluster.Name,
	})
	if err != nil {
		return nil, err
	}
	handles := make([]Handle, 0, len(volumes))
	for _, v := range volumes {
		handles = append(handles, handleOf(v.Labels))
	}
	slices.SortFunc(handles, func(a, b Handle) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return handles, nil
}

// DeleteOrderers removes orderers and, unless they are to be kept, their volumes.
func (f *Fabric) DeleteOrderers(ctx context.Context, orderers map[string]Handle, keepVolumes bool) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, h := range orderers {
		group.Go(func() error { return f.removeNode(gctx, h, keepVolumes) })
	}
	return group.Wait()
}
