package network

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	ordererproto "github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// sketchOrdering orders config updates as Fabric does: it lets members read, holds an update to its
// signatures and to the configuration, and makes a block of it. Several nodes may share one.
type sketchOrdering struct {
	ordererproto.UnimplementedAtomicBroadcastServer
	t      *testing.T
	mu     sync.Mutex
	blocks []*common.Block
	// lost counts down the answers to updates that were taken and that never arrive, dropped the updates
	// that are taken and never come to a block.
	lost, dropped int
}

// config is the configuration in force.
func (l *sketchOrdering) config() *configtx.Config {
	config, err := configtx.Decode(l.blocks[len(l.blocks)-1])
	if err != nil {
		l.t.Error(err)
	}
	return config
}

func (l *sketchOrdering) now() *configtx.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.config()
}

func (l *sketchOrdering) Deliver(stream ordererproto.AtomicBroadcast_DeliverServer) error {
	envelope, err := stream.Recv()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	payload, seek, head := &common.Payload{}, &ordererproto.SeekInfo{}, &common.ChannelHeader{}
	if err := errors.Join(
		proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), seek),
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), head),
	); err != nil {
		return err
	}
	refuse := func(status common.Status) error {
		return stream.Send(&ordererproto.DeliverResponse{Type: &ordererproto.DeliverResponse_Status{Status: status}})
	}
	if head.GetChannelId() != "trade" {
		return refuse(common.Status_NOT_FOUND)
	}
	reader, err := configtx.SignerOf(&common.ConfigSignature{SignatureHeader: payload.GetHeader().GetSignatureHeader()})
	if err != nil || configtx.PolicyOf(l.config(), "/Channel/Readers").Met([]configtx.Signer{reader}) != configtx.Yes {
		return refuse(common.Status_FORBIDDEN)
	}
	number := uint64(len(l.blocks) - 1)
	if position := seek.GetStart().GetSpecified(); position != nil {
		number = position.GetNumber()
	}
	if number >= uint64(len(l.blocks)) {
		return refuse(common.Status_NOT_FOUND)
	}
	return stream.Send(&ordererproto.DeliverResponse{Type: &ordererproto.DeliverResponse_Block{Block: l.blocks[number]}})
}

func (l *sketchOrdering) Broadcast(stream ordererproto.AtomicBroadcast_BroadcastServer) error {
	envelope, err := stream.Recv()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dropped > 0 {
		l.dropped--
		return stream.Send(&ordererproto.BroadcastResponse{Status: common.Status_SUCCESS})
	}
	if err := l.take(envelope); err != nil {
		return stream.Send(&ordererproto.BroadcastResponse{Status: common.Status_BAD_REQUEST, Info: err.Error()})
	}
	if l.lost > 0 {
		l.lost--
		return errors.New("the connection broke")
	}
	return stream.Send(&ordererproto.BroadcastResponse{Status: common.Status_SUCCESS})
}

func (l *sketchOrdering) take(envelope *common.Envelope) error {
	payload, signed := &common.Payload{}, &common.ConfigUpdateEnvelope{}
	if err := errors.Join(proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), signed)); err != nil {
		return err
	}
	base := l.config()
	update, err := configtx.ParseUpdate(signed.GetConfigUpdate())
	if err != nil {
		return err
	}
	var signers []configtx.Signer
	for _, s := range signed.GetSignatures() {
		if signer, err := configtx.VerifySignature(signed.GetConfigUpdate(), s, ""); err == nil {
			signers = append(signers, signer)
		}
	}
	requirements, err := configtx.Requirements(base, update)
	if err != nil {
		return err
	}
	for _, r := range requirements {
		if r.Met(signers) != configtx.Yes {
			return errors.New("policy " + r.Policy + " not satisfied")
		}
	}
	after, err := configtx.Apply(base, update)
	if err != nil {
		return err
	}
	l.append(&common.ConfigEnvelope{Config: after.Proto, LastUpdate: envelope})
	return nil
}

func (l *sketchOrdering) append(config *common.ConfigEnvelope) {
	number := uint64(len(l.blocks))
	marshal := func(m proto.Message) []byte {
		raw, err := proto.Marshal(m)
		if err != nil {
			l.t.Error(err)
		}
		return raw
	}
	block := proto.Clone(l.blocks[0]).(*common.Block)
	block.Header.Number = number
	block.Data.Data = [][]byte{marshal(&common.Envelope{Payload: marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: "trade"})},
		Data:   marshal(config),
	})})}
	hash := sha256.Sum256(block.GetData().GetData()[0])
	block.Header.DataHash = hash[:]
	block.Metadata.Metadata[0] = marshal(&common.Metadata{Value: marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: number}})})
	l.blocks = append(l.blocks, block)
}

// serveOrdering lets all ordering nodes of the sketch order, and gives one as it is reached from elsewhere.
func (s *sketch) serveOrdering() (*sketchOrdering, map[string]RemoteOrderer) {
	s.t.Helper()
	ledger := &sketchOrdering{t: s.t, blocks: []*common.Block{s.genesis}}
	register := func(server *grpc.Server) { ordererproto.RegisterAtomicBroadcastServer(server, ledger) }
	for _, name := range sketchOrganizations["OrdererMSP"].orderers {
		s.serve(s.orderer(name), ordererPort, register)
	}
	files := s.fake.Files(s.orderer("orderer0").Object())
	pair, err := tls.X509KeyPair(files["node/keys/tls/cert.pem"].Content, files["node/keys/tls/key.pem"].Content)
	s.must(err)
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.t.Error(err)
		}
	}()
	s.t.Cleanup(func() { server.Stop(); <-done })
	return ledger, map[string]RemoteOrderer{"orderer0": {
		Address: listener.Addr().String(), TLSRoots: s.definition("OrdererMSP").TLSRootCertificates, ServerName: "orderer0.example.com",
	}}
}

// joining is a peer that joins a channel, unless it refuses to.
type joining struct {
	peer.UnimplementedEndorserServer
	mu      sync.Mutex
	joined  bool
	refuses bool
	genesis []byte
}

func (p *joining) has() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joined
}

func (p *joining) ProcessProposal(_ context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	proposal, payload, call := &peer.Proposal{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if err := errors.Join(
		proto.Unmarshal(signed.GetProposalBytes(), proposal), proto.Unmarshal(proposal.GetPayload(), payload), proto.Unmarshal(payload.GetInput(), call),
	); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	args, response := call.GetChaincodeSpec().GetInput().GetArgs(), &peer.Response{Status: 200}
	switch string(args[0]) {
	case "JoinChain":
		if p.refuses {
			response = &peer.Response{Status: 500, Message: "no space left on device"}
			break
		}
		p.joined, p.genesis = true, args[1]
	case "GetChannels":
		channels := &peer.ChannelQueryResponse{}
		if p.joined {
			channels.Channels = []*peer.ChannelInfo{{ChannelId: "trade"}}
		}
		response.Payload, _ = proto.Marshal(channels)
	default:
		response = &peer.Response{Status: 500, Message: "not here"}
	}
	return &peer.ProposalResponse{Response: response}, nil
}

// stranger is an organization Org3MSP with a peer that belongs to no channel yet.
func (s *sketch) stranger() (Handle, *joining) {
	s.t.Helper()
	s.addOrganization("Org3MSP", sketchOrganization{ca: "ca.org3", peers: []string{"peer0.org3"}})
	h, p := s.peer("peer0.org3", "Org3MSP"), &joining{}
	s.serve(h, peerPort, func(server *grpc.Server) { peer.RegisterEndorserServer(server, p) })
	s.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{})
	s.fake.Intercept(func(c enginetest.Call) error {
		if c.Method == "RunOnce" && strings.HasPrefix(c.Name, h.Object()) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.joined = false
		}
		return nil
	})
	return h, p
}

// admit adds an organization to the channel as its owner does, with the admins of the sketch.
func (s *sketch) admit(mspID string) {
	s.t.Helper()
	_, err := s.fabric.updateChannel(s.t.Context(), configUpdate{
		channel: s.channel, orderers: []Handle{s.orderer("orderer0")}, admins: []Handle{s.organization("Org1MSP"), s.organization("Org2MSP")},
		edit: func(config *configtx.Config) error {
			return config.SetApplicationOrganization(configtx.ApplicationOrganization{Definition: s.definition(mspID)})
		},
	})
	s.must(err)
}

func anchorsOf(t *testing.T, config *configtx.Config, mspID string) []configtx.Address {
	t.Helper()
	summary, err := configtx.Summarize(config)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(summary.ApplicationOrganizations, func(o configtx.OrganizationSummary) bool { return o.Definition.ID == mspID })
	if i < 0 {
		return nil
	}
	return summary.ApplicationOrganizations[i].AnchorPeers
}
