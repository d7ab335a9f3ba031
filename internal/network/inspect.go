package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
)

// ChannelFacts is what the nodes of a channel say of it.
type ChannelFacts struct {
	// Height is the number of blocks of the longest chain, Heights that of each node that answered,
	// by the node's name.
	Height  uint64
	Heights map[string]uint64
	// Configuration is the one in force, as JSON in the form of configtxlator; Summary the same in
	// the terms of this provider.
	Configuration []byte
	Summary       configtx.Summary
}

// answerTimeout is how long one node may take to answer, so that one that hangs holds nobody up.
const answerTimeout = 10 * time.Second

// InspectChannel asks every node of the channel that runs for its height, and the one with the
// longest chain for the configuration, a peer before an ordering node. It fails with
// *UnansweredError when none answers.
func (f *Fabric) InspectChannel(ctx context.Context, channel Handle) (ChannelFacts, error) {
	facts, err := f.inspectChannel(ctx, channel)
	if err != nil {
		return ChannelFacts{}, fmt.Errorf("unable to inspect %s: %w", channel, err)
	}
	return facts, nil
}

func (f *Fabric) inspectChannel(ctx context.Context, channel Handle) (ChannelFacts, error) {
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return ChannelFacts{}, err
	}
	orderers, err := f.channelOrderers(ctx, record)
	if err != nil {
		return ChannelFacts{}, err
	}
	var nodes []Handle
	for _, org := range record.Organizations {
		nodes = slices.AppendSeq(nodes, maps.Values(org.Peers))
	}
	slices.SortStableFunc(nodes, compareNames)
	nodes = append(nodes, orderers...)

	answers, failures := f.askAll(ctx, nodes, channel.Name)
	if len(answers) == 0 {
		return ChannelFacts{}, &UnansweredError{Thing: channel, Cause: failures}
	}
	facts := ChannelFacts{Heights: map[string]uint64{}}
	for _, a := range answers {
		facts.Heights[a.node.Name] = a.height
		facts.Height = max(facts.Height, a.height)
	}
	// The order of nodes stays among those of one height: peers come first.
	slices.SortStableFunc(answers, func(a, b heightAnswer) int {
		switch {
		case a.height > b.height:
			return -1
		case a.height < b.height:
			return 1
		}
		return 0
	})
	for _, a := range answers {
		block, err := f.configBlock(ctx, a.node, channel.Name)
		if err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		return facts, facts.take(block)
	}
	return ChannelFacts{}, &UnansweredError{Thing: channel, Cause: failures}
}

// take reads the configuration out of its block.
func (c *ChannelFacts) take(block *common.Block) error {
	config, err := configtx.Decode(block)
	if err != nil {
		return err
	}
	if c.Configuration, err = configtx.JSON(config); err != nil {
		return err
	}
	c.Summary, err = configtx.Summarize(config)
	return err
}

type heightAnswer struct {
	node   Handle
	height uint64
}

// askAll asks every node that runs for its height at once. Answers are in the order of nodes;
// failures are joined.
func (f *Fabric) askAll(ctx context.Context, nodes []Handle, channel string) ([]heightAnswer, error) {
	heights, errs := make([]uint64, len(nodes)), make([]error, len(nodes))
	var calls sync.WaitGroup
	for i, h := range nodes {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			heights[i], errs[i] = f.height(ctx, h, channel)
			if errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", h, errs[i])
			}
		})
	}
	calls.Wait()
	var answers []heightAnswer
	for i, h := range nodes {
		if errs[i] == nil {
			answers = append(answers, heightAnswer{h, heights[i]})
		}
	}
	return answers, errors.Join(errs...)
}

// errNotRunning: a node was not asked, because its container does not run.
var errNotRunning = errors.New("it is not running")

// height is the number of blocks that a node has of a channel.
func (f *Fabric) height(ctx context.Context, h Handle, channel string) (uint64, error) {
	running, err := f.running(ctx, h)
	if err != nil {
		return 0, err
	}
	if !running {
		return 0, errNotRunning
	}
	admin, err := f.identity(ctx, h.Organization())
	if err != nil {
		return 0, err
	}
	if h.Kind == KindOrderer {
		conn, err := f.grpcConn(ctx, h, ordererPort)
		if err != nil {
			return 0, err
		}
		newest, err := orderer.Block(ctx, conn, admin, channel, orderer.Newest(), orderer.BestEffort())
		if err != nil {
			return 0, err
		}
		return configtx.Number(newest) + 1, nil
	}
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return 0, err
	}
	info, err := endorser.ChainInfo(ctx, endorser.Peer{Name: h.Name, Conn: conn}, admin, channel)
	return info.GetHeight(), err
}

// configBlock fetches the block with the configuration in force from a node.
func (f *Fabric) configBlock(ctx context.Context, h Handle, channel string) (*common.Block, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	admin, err := f.identity(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	if h.Kind == KindOrderer {
		conn, err := f.grpcConn(ctx, h, ordererPort)
		if err != nil {
			return nil, err
		}
		return orderer.LastConfigBlock(ctx, conn, admin, channel, orderer.BestEffort())
	}
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return nil, err
	}
	return endorser.ConfigBlock(ctx, endorser.Peer{Name: h.Name, Conn: conn}, admin, channel)
}

// Absent tells that what was to be read is not there, or that none of its nodes answered: it may yet
// be made, or started. An engine that does not answer is another matter.
func Absent(err error) bool {
	unanswered, unreached := new(UnansweredError), new(endorser.CallError)
	return !errors.Is(err, engine.ErrUnreachable) &&
		(errors.As(err, &unanswered) || errors.As(err, &unreached) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) || errors.Is(err, engine.ErrNotFound))
}

// NodeConfig gives the configuration with which a peer or an ordering node was started: the file's
// name, core.yaml or orderer.yaml, and its content. The node need not run. A handle of an ordering
// cluster needs the name of one of its nodes, unless the cluster has only one.
func (f *Fabric) NodeConfig(ctx context.Context, h Handle, name string) (file string, content []byte, err error) {
	if h.Kind == KindOrdererCluster {
		if h, err = f.memberOf(ctx, h, name); err != nil {
			return "", nil, err
		}
	}
	file = "orderer.yaml"
	if h.Kind == KindPeer {
		file = "core.yaml"
	}
	fail := func(err error) (string, []byte, error) {
		return "", nil, fmt.Errorf("unable to read %s of %s: %w", file, h, err)
	}
	if _, err := f.ownNode(ctx, h); err != nil {
		return fail(err)
	}
	files, err := f.engine.GetFiles(ctx, h.Object(), configFolder+"/"+file)
	if err != nil {
		return fail(err)
	}
	if len(files) != 1 {
		return fail(fmt.Errorf("it is %d files where one is expected", len(files)))
	}
	return file, files[0].Content, nil
}

// configFolder is where a node finds its configuration.
const configFolder = nodeRoot + "/config"

// memberOf finds a node of an ordering cluster by its name; an empty one means the only node.
func (f *Fabric) memberOf(ctx context.Context, cluster Handle, name string) (Handle, error) {
	nodes, err := f.Orderers(ctx, cluster)
	if err != nil {
		return Handle{}, err
	}
	names := make([]string, 0, len(nodes))
	for _, h := range nodes {
		if h.Name == name || name == "" && len(nodes) == 1 {
			return h, nil
		}
		names = append(names, h.Name)
	}
	switch {
	case len(nodes) == 0:
		return Handle{}, fmt.Errorf("%s has no nodes: %w", cluster, ErrNotFound)
	case name == "":
		return Handle{}, fmt.Errorf("%s has several nodes, name one of them: %s", cluster, strings.Join(names, ", "))
	}
	return Handle{}, fmt.Errorf("%s has no node %s, its nodes are %s: %w", cluster, name, strings.Join(names, ", "), ErrNotFound)
}

// Credentials is what an application needs to act as an identity.
type Credentials struct {
	MSPID string
	// Certificate is the enrolment certificate, PrivateKey its key in PKCS#8, both in PEM.
	Certificate, PrivateKey string
	// Definition is the identity's organization, with the roots of its nodes' TLS certificates.
	Definition msp.Definition
}

// String keeps the key out of whatever prints it.
func (c Credentials) String() string { return "credentials of a member of " + c.MSPID }

// GoString keeps the key out of %#v.
func (c Credentials) GoString() string { return c.String() }

// Credentials reads the credentials of an identity, or of an organization's admin, from the
// organization's key volume. ErrNotFound for an identity whose key is kept elsewhere.
func (f *Fabric) Credentials(ctx context.Context, h Handle) (Credentials, error) {
	fail := func(err error) (Credentials, error) {
		return Credentials{}, fmt.Errorf("unable to read the credentials of %s: %w", h, err)
	}
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return fail(err)
	}
	identity, err := f.identity(ctx, h)
	if err != nil {
		return fail(err)
	}
	key, err := certificate.EncodeKey(identity.Key)
	if err != nil {
		return fail(err)
	}
	return Credentials{
		MSPID: identity.ID, Certificate: string(identity.CertificatePEM), PrivateKey: string(key), Definition: org.Definition,
	}, nil
}
