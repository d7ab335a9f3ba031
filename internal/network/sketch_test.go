package network

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	ordererproto "github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// sketch is a network on an engine in memory, made by the same code as a real one but for what
// needs a process that answers: certificates are issued right here, and what nodes answer over gRPC
// is given by the test. It has two member organizations and an ordering one, and a channel:
//
//	Org1MSP     ca.org1     peer0.org1 peer1.org1
//	Org2MSP     ca.org2     peer0.org2
//	OrdererMSP  ca.orderer  orderer0 orderer1 (cluster raft)
//	channel trade
type sketch struct {
	t       *testing.T
	fake    *enginetest.Fake
	fabric  *Fabric
	network Handle
	channel Handle
	roots   map[string]sketchRoots
	genesis *common.Block
}

type sketchRoots struct{ enrollment, tls *certificate.KeyPair }

type sketchOrganization struct {
	ca       string
	peers    []string
	orderers []string
}

var sketchOrganizations = map[string]sketchOrganization{
	"Org1MSP":    {ca: "ca.org1", peers: []string{"peer0.org1", "peer1.org1"}},
	"Org2MSP":    {ca: "ca.org2", peers: []string{"peer0.org2"}},
	"OrdererMSP": {ca: "ca.orderer", orderers: []string{"orderer0", "orderer1"}},
}

func newSketch(t *testing.T) *sketch {
	t.Helper()
	fake := enginetest.NewFake()
	s := &sketch{
		t: t, fake: fake, fabric: New(fake), roots: map[string]sketchRoots{},
		network: Handle{Kind: KindNetwork, Network: "dev", Domain: "example.com", Owner: "0123456789abcdef", Name: "dev"},
	}
	t.Cleanup(func() { _ = s.fabric.Close() })
	s.must(s.fabric.EnsureNetwork(t.Context(), s.network, false))
	for _, mspID := range slices.Sorted(maps.Keys(sketchOrganizations)) {
		s.addOrganization(mspID, sketchOrganizations[mspID])
	}
	s.addChannel()
	return s
}

func (s *sketch) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sketch) organization(mspID string) Handle {
	return s.network.With(KindOrganization, mspID, mspID)
}
func (s *sketch) peer(name, mspID string) Handle { return s.network.With(KindPeer, name, mspID) }
func (s *sketch) orderer(name string) Handle {
	return s.network.With(KindOrderer, name, "OrdererMSP")
}

func (s *sketch) cluster() Handle { return s.network.With(KindOrdererCluster, "raft", "OrdererMSP") }

func (s *sketch) definition(mspID string) msp.Definition {
	return msp.Definition{
		ID: mspID, RootCertificates: []string{string(s.roots[mspID].enrollment.CertificatePEM())},
		TLSRootCertificates: []string{string(s.roots[mspID].tls.CertificatePEM())},
	}
}

func (s *sketch) root(name string) *certificate.KeyPair {
	s.t.Helper()
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: name, Validity: 24 * time.Hour})
	s.must(err)
	return root
}

func (s *sketch) addOrganization(mspID string, of sketchOrganization) {
	s.t.Helper()
	ctx := s.t.Context()
	s.roots[mspID] = sketchRoots{s.root(of.ca), s.root("tls" + of.ca)}
	h := s.organization(mspID)
	s.must(s.fabric.createKeys(ctx, h, "ca:1.5.13", map[string]string{labelCA: of.ca}))
	raw, err := json.Marshal(map[string]any{"ca": of.ca, "definition": s.definition(mspID)})
	s.must(err)
	admin, err := issuePair(s.roots[mspID].enrollment, certificate.LeafRequest{CommonName: "admin", OUs: []string{msp.OUAdmin}, Server: true, Client: true, Validity: time.Hour})
	s.must(err)
	files := map[string][]byte{organizationRecord: raw}
	s.must(putPair(files, adminFolder, admin))
	s.must(s.fabric.writeKeys(ctx, h, files))

	ca := s.network.With(KindCA, of.ca, "")
	s.must(s.fabric.createKeys(ctx, ca, "ca:1.5.13", nil)) // a keeper, which is no node
	n, err := s.fabric.caNode(CASpec{Handle: ca, NodeOptions: sketchOptions("ca:1.5.13")}, nil)
	s.must(err)
	s.run(n, mspID)
	for _, name := range of.peers {
		n, err := s.fabric.peerNode(PeerSpec{Handle: s.peer(name, mspID), NodeOptions: sketchOptions("peer:3.1.1"), Version: sketchVersion(s.t)})
		s.must(err)
		s.run(n, mspID)
	}
	for _, name := range of.orderers {
		n, err := s.fabric.ordererNode(OrdererSpec{Handle: s.orderer(name), NodeOptions: sketchOptions("orderer:3.1.1"), Version: sketchVersion(s.t), Cluster: "raft"})
		s.must(err)
		s.run(n, mspID)
	}
}

func sketchOptions(image string) NodeOptions {
	return NodeOptions{Image: image, BindAddress: "127.0.0.1"}
}

func sketchVersion(t *testing.T) nodeconfig.Version {
	t.Helper()
	v, err := nodeconfig.ParseVersion("3.1.1")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// run makes a node whose certificates are issued here.
func (s *sketch) run(n *node, mspID string) {
	s.t.Helper()
	hosts := n.options.hosts(n.handle)
	n.material = func(context.Context, map[string][]byte) (map[string][]byte, error) {
		pair, err := issuePair(s.roots[mspID].tls, certificate.LeafRequest{CommonName: n.handle.Host(), Hosts: hosts, Server: true, Client: true, Validity: time.Hour})
		if err != nil {
			return nil, err
		}
		enrolled, err := issuePair(s.roots[mspID].enrollment, certificate.LeafRequest{CommonName: n.handle.Name, Client: true, Validity: time.Hour})
		if err != nil {
			return nil, err
		}
		files := map[string][]byte{enrollmentFile: enrolled.CertificatePEM()}
		return files, putPair(files, "tls", pair)
	}
	n.ready = func(context.Context) error { return nil }
	_, err := s.fabric.ensure(s.t.Context(), n)
	s.must(err)
}

func (s *sketch) addChannel() {
	s.t.Helper()
	s.channel = s.network.With(KindChannel, "trade", "")
	spec := ChannelSpec{Handle: s.channel, Orderers: s.cluster(), Organizations: map[string]ChannelOrganization{}}
	for mspID, of := range sketchOrganizations {
		if len(of.peers) == 0 {
			continue
		}
		member := ChannelOrganization{Organization: s.organization(mspID), Definition: s.definition(mspID), Peers: map[string]Handle{}}
		for _, name := range of.peers {
			member.Peers[name] = s.peer(name, mspID)
		}
		spec.Organizations[mspID] = member
	}
	raw, err := s.fabric.recordChannel(s.t.Context(), spec, &channelAttempt{})
	s.must(err)
	s.genesis = &common.Block{}
	s.must(proto.Unmarshal(raw, s.genesis))
}

// serve lets a node answer at a port, over TLS with the certificate that it has.
func (s *sketch) serve(h Handle, port int, register func(*grpc.Server)) {
	s.t.Helper()
	files := s.fake.Files(h.Object())
	pair, err := tls.X509KeyPair(files["node/keys/tls/cert.pem"].Content, files["node/keys/tls/key.pem"].Content)
	s.must(err)
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	register(server)
	listener := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Error(err)
		}
	}()
	s.t.Cleanup(func() { server.Stop(); <-done })
	s.fake.HandleDial(h.Object(), port, func(ctx context.Context) (net.Conn, error) { return listener.DialContext(ctx) })
}

// sketchPeer answers the calls of cscc, qscc and the lifecycle that read a channel.
type sketchPeer struct {
	peer.UnimplementedEndorserServer
	height uint64
	config *common.Block
	// collections are those of chaincode kv, which is committed.
	collections *peer.CollectionConfigPackage
	// nowhere: it has joined no channel.
	nowhere bool
}

func (p *sketchPeer) ProcessProposal(_ context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	proposal, payload, call := &peer.Proposal{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if err := errors.Join(
		proto.Unmarshal(signed.GetProposalBytes(), proposal), proto.Unmarshal(proposal.GetPayload(), payload), proto.Unmarshal(payload.GetInput(), call),
	); err != nil {
		return nil, err
	}
	var answer proto.Message
	switch string(call.GetChaincodeSpec().GetInput().GetArgs()[0]) {
	case "GetChainInfo":
		answer = &common.BlockchainInfo{Height: p.height}
	case "GetConfigBlock":
		if answer = p.config; p.config == nil {
			return &peer.ProposalResponse{Response: &peer.Response{Status: 500, Message: "no config block"}}, nil
		}
	case "GetChannels":
		answer = &peer.ChannelQueryResponse{Channels: []*peer.ChannelInfo{{ChannelId: "trade"}}}
		if p.nowhere {
			answer = &peer.ChannelQueryResponse{}
		}
	case "QueryChaincodeDefinitions":
		answer = &lifecycle.QueryChaincodeDefinitionsResult{ChaincodeDefinitions: []*lifecycle.QueryChaincodeDefinitionsResult_ChaincodeDefinition{
			{Name: "kv", Version: "1.0", Sequence: 1, Collections: p.collections},
		}}
	}
	raw, err := proto.Marshal(answer)
	return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: raw}}, err
}

func (s *sketch) servePeer(h Handle, p *sketchPeer) {
	s.serve(h, peerPort, func(server *grpc.Server) { peer.RegisterEndorserServer(server, p) })
}

// sketchOrderer hands out a chain of the genesis block and a newest block that names it as the
// configuration in force.
type sketchOrderer struct {
	ordererproto.UnimplementedAtomicBroadcastServer
	genesis *common.Block
	height  uint64
}

func (o *sketchOrderer) Deliver(stream ordererproto.AtomicBroadcast_DeliverServer) error {
	envelope, err := stream.Recv()
	if err != nil {
		return err
	}
	payload, seek := &common.Payload{}, &ordererproto.SeekInfo{}
	if err := errors.Join(proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), seek)); err != nil {
		return err
	}
	block := o.genesis
	if seek.GetStart().GetNewest() != nil {
		block = o.newest()
	}
	return stream.Send(&ordererproto.DeliverResponse{Type: &ordererproto.DeliverResponse_Block{Block: block}})
}

func (o *sketchOrderer) newest() *common.Block {
	value, _ := proto.Marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: 0}})
	metadata, _ := proto.Marshal(&common.Metadata{Value: value})
	return &common.Block{
		Header: &common.BlockHeader{Number: o.height - 1}, Data: &common.BlockData{Data: [][]byte{[]byte("transactions")}},
		Metadata: &common.BlockMetadata{Metadata: [][]byte{metadata}},
	}
}

func (s *sketch) serveOrderer(h Handle, o *sketchOrderer) {
	s.serve(h, ordererPort, func(server *grpc.Server) { ordererproto.RegisterAtomicBroadcastServer(server, o) })
}

// changed gives the genesis block's configuration again as a later block, to be told from it.
func (s *sketch) changed(number uint64) *common.Block {
	s.t.Helper()
	block := proto.Clone(s.genesis).(*common.Block)
	block.Header.Number = number
	if _, err := configtx.Decode(block); err != nil {
		s.t.Fatal(err)
	}
	return block
}

// removeContainer takes a node's container away and leaves its volume.
func (s *sketch) removeContainer(h Handle) {
	s.t.Helper()
	s.must(s.fake.RemoveNode(s.t.Context(), h.Object(), h.Owner))
}
