package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// clusterRecord is what a channel must know of its ordering cluster beside the nodes. A copy lies on
// the volume of each node.
type clusterRecord struct {
	// MSPID is the organization of the cluster; single nodes may belong to others.
	MSPID string `json:"msp_id"`
	Ordering
	// Admins are those that were given by the user.
	Admins []Handle `json:"admins,omitempty"`
	// External are the nodes that other states run.
	External map[string]ExternalConsenter `json:"external,omitempty"`
}

const clusterFile = "cluster.json"

// recordCluster writes the record where it is not so yet. Nodes need not be restarted for it.
func (f *Fabric) recordCluster(ctx context.Context, nodes []Handle, record clusterRecord) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	var jobs together
	for _, o := range nodes {
		jobs.do(func() error {
			files, err := f.engine.GetFiles(ctx, o.Object(), nodeRoot+"/"+clusterFile)
			if err == nil && len(files) == 1 && string(files[0].Content) == string(raw) {
				return nil
			}
			if err != nil && !errors.Is(err, engine.ErrNotFound) {
				return fmt.Errorf("unable to read the cluster's record of %s: %w", o, err)
			}
			return f.engine.PutFiles(ctx, o.Object(), nodeRoot, []engine.File{{Name: clusterFile, Content: raw, Mode: 0o600, UID: nodeUID, GID: nodeUID}})
		})
	}
	return jobs.wait()
}

// clusterRecord reads the record from the first node that has it. Nodes that were made before there
// were records have Fabric's defaults.
func (f *Fabric) clusterRecord(ctx context.Context, nodes []Handle) (clusterRecord, error) {
	for _, o := range nodes {
		files, err := f.engine.GetFiles(ctx, o.Object(), nodeRoot+"/"+clusterFile)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		record := clusterRecord{}
		if err == nil && len(files) == 1 {
			err = json.Unmarshal(files[0].Content, &record)
		}
		if err != nil {
			return record, fmt.Errorf("unable to read the cluster's record of %s: %w", o, err)
		}
		return record, nil
	}
	return clusterRecord{Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}, nil
}

// addOrdering writes into a new channel what its ordering cluster knows of itself: consenters, timers,
// and the organizations of the nodes with their endpoints.
func (f *Fabric) addOrdering(ctx context.Context, cluster Handle, channel *configtx.Channel) error {
	nodes, err := f.Orderers(ctx, cluster)
	if err != nil {
		return err
	}
	record, err := f.clusterRecord(ctx, nodes)
	if err != nil {
		return err
	}
	channel.Consensus, channel.Raft, channel.BFT = record.Consensus, record.Raft, record.BFT
	for _, o := range nodes {
		consenter, err := f.consenter(ctx, o)
		if err != nil {
			return err
		}
		keys, err := f.organizationKeys(ctx, o.Organization())
		if err != nil {
			return err
		}
		channel.Consenters = append(channel.Consenters, consenter)
		addEndpoint(channel, keys.member(), addressOf(consenter))
	}
	for _, name := range slices.Sorted(maps.Keys(record.External)) {
		e := record.External[name]
		addEndpoint(channel, e.Definition, joinAddress(e.Address))
		if e.Consenter {
			channel.Consenters = append(channel.Consenters, e.consenter())
		}
	}
	if record.bft() && len(nodes) < LeastBFT {
		return &FewNodesError{Nodes: len(nodes)}
	}
	if needed := quorumOf(len(channel.Consenters), false); len(nodes) < needed && len(nodes) > 0 {
		return &QuorumError{Step: "creating it with nodes of others that have not joined yet", Channel: channel.Name, Consenters: len(channel.Consenters), Needed: needed, Left: namesOf(nodes)}
	}
	return nil
}

// addEndpoint adds an endpoint to an ordering organization of a new channel, and the organization where
// it is not there yet.
func addEndpoint(channel *configtx.Channel, definition msp.Definition, endpoint string) {
	for i := range channel.OrdererOrganizations {
		if org := &channel.OrdererOrganizations[i]; org.Definition.ID == definition.ID {
			org.Endpoints = append(org.Endpoints, endpoint)
			return
		}
	}
	channel.OrdererOrganizations = append(channel.OrdererOrganizations, configtx.OrdererOrganization{Definition: definition, Endpoints: []string{endpoint}})
}

// addressOf gives the address of a consenter as host:port.
func addressOf(c configtx.Consenter) string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// setOptions brings the options of the consensus to what is wanted, on every channel. What nodes read only
// when they start comes into force when they are made anew for it.
func (w *clusterWork) setOptions(ctx context.Context) error {
	return w.onChannels(ctx, w.all(), func(ctx context.Context, k *channelWork, c channelView) error {
		if c.summary == nil || c.summary.Raft == w.spec.Raft && c.summary.BFT == w.spec.BFT {
			return nil
		}
		step := "setting the " + w.spec.word() + " options"
		if err := k.awaitStrength(ctx, step, func(c channelView) error { return c.strength().requireOrder(c.channel.Name, step) }); err != nil {
			return err
		}
		return k.update(ctx, func(config *configtx.Config) error {
			if w.spec.bft() {
				return config.SetBFTOptions(w.spec.BFT)
			}
			return config.SetRaftOptions(w.spec.Raft)
		})
	})
}
