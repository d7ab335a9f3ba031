package endorser

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
)

func marshal(t testing.TB, message proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// genesis makes a config block 0 of the channel; other blocks of it differ by sequence.
func genesis(t testing.TB, channel string, sequence uint64) *common.Block {
	t.Helper()
	envelope := marshal(t, &common.Envelope{Payload: marshal(t, &common.Payload{
		Header: &common.Header{ChannelHeader: marshal(t, &common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: channel})},
		Data:   marshal(t, &common.ConfigEnvelope{Config: &common.Config{Sequence: sequence, ChannelGroup: &common.ConfigGroup{Version: 1}}}),
	})})
	hash := sha256.Sum256(envelope)
	return &common.Block{Header: &common.BlockHeader{DataHash: hash[:]}, Data: &common.BlockData{Data: [][]byte{envelope}}}
}

// ledgers is a peer's system chaincodes over the genesis blocks of its channels.
type ledgers struct {
	t      testing.TB
	held   map[string]*common.Block
	height uint64
	// fault, when set, is what joins and queries are answered with.
	fault string
	// unlisted keeps the list of channels from the identity.
	unlisted bool
	// empty makes the peer answer with nothing, successfully.
	empty bool
	// snapshot tells that the peer began with a snapshot, and joining where it reads one.
	snapshot bool
	joining  string
}

func (l *ledgers) answer(u unpacked) (*peer.ProposalResponse, error) {
	args := u.spec.GetInput().GetArgs()
	function := string(args[0])
	if function == "GetChannels" {
		if l.unlisted {
			return refusal(500, "access denied")
		}
		response := &peer.ChannelQueryResponse{}
		for channel := range l.held {
			response.Channels = append(response.Channels, &peer.ChannelInfo{ChannelId: channel})
		}
		return success(marshal(l.t, response))
	}
	if l.fault != "" {
		return refusal(500, l.fault)
	}
	if l.empty {
		return success(nil)
	}
	if function == "JoinChain" {
		block := &common.Block{}
		if err := proto.Unmarshal(args[1], block); err != nil {
			return refusal(500, err.Error())
		}
		if u.header.GetChannelId() != "" || u.header.GetType() != int32(common.HeaderType_CONFIG) || u.spec.GetChaincodeId().GetName() != "cscc" {
			return refusal(500, "not how a peer is asked to join")
		}
		if _, exists := l.held["trade"]; exists {
			return refusal(500, "ledger exists")
		}
		l.held["trade"] = block
		return success(nil)
	}
	if function == "JoinBySnapshotStatus" {
		return success(marshal(l.t, &peer.JoinBySnapshotStatus{InProgress: l.joining != "", BootstrappingSnapshotDir: l.joining}))
	}
	if function == "JoinChainBySnapshot" {
		if u.header.GetChannelId() != "" || u.spec.GetChaincodeId().GetName() != "cscc" || l.joining != "" {
			return refusal(500, "not how a peer is asked to join")
		}
		l.joining = string(args[1])
		return success(nil)
	}
	channel := string(args[1])
	block, exists := l.held[channel]
	if !exists || u.header.GetChannelId() != channel {
		return refusal(500, "no such channel")
	}
	switch function {
	case "GetChainInfo":
		info := &common.BlockchainInfo{Height: l.height}
		if l.snapshot {
			info.BootstrappingSnapshotInfo = &common.BootstrappingSnapshotInfo{LastBlockInSnapshot: l.height - 1}
		}
		return success(marshal(l.t, info))
	case "GetBlockByNumber":
		number, err := strconv.ParseUint(string(args[2]), 10, 64)
		if err != nil || number > 0 || l.snapshot {
			return refusal(500, "no such block")
		}
		return success(marshal(l.t, block))
	case "GetConfigBlock":
		return success(marshal(l.t, block))
	}
	return refusal(500, "unknown function")
}

func TestJoinChannel(t *testing.T) {
	identity := grpctest.Identity(t)
	block, other := genesis(t, "trade", 0), genesis(t, "trade", 1)
	// A header that promises the other block's data, with data of its own.
	forged := proto.CloneOf(block)
	forged.Data = other.GetData()
	for name, test := range map[string]struct {
		peer *ledgers
		want func(error) bool
	}{
		"fresh":             {&ledgers{held: map[string]*common.Block{}}, func(err error) bool { return err == nil }},
		"again":             {&ledgers{held: map[string]*common.Block{"trade": block}}, func(err error) bool { return err == nil }},
		"another genesis":   {&ledgers{held: map[string]*common.Block{"trade": other}}, func(err error) bool { return errors.Is(err, ErrOtherGenesis) }},
		"forged header":     {&ledgers{held: map[string]*common.Block{"trade": forged}}, func(err error) bool { return errors.Is(err, ErrOtherGenesis) }},
		"refused, not held": {&ledgers{held: map[string]*common.Block{}, fault: "no admin"}, isRefusal},
		"refused, block hidden": {&ledgers{held: map[string]*common.Block{"trade": block}, fault: "no admin"}, func(err error) bool {
			return isRefusal(err) && !errors.Is(err, ErrOtherGenesis)
		}},
		"began with a snapshot": {&ledgers{held: map[string]*common.Block{"trade": block}, snapshot: true}, func(err error) bool {
			return errors.Is(err, ErrFromSnapshot) && isRefusal(err)
		}},
		"refused, list hidden": {&ledgers{held: map[string]*common.Block{"trade": block}, unlisted: true}, isRefusal},
	} {
		t.Run(name, func(t *testing.T) {
			test.peer.t, test.peer.height = t, 1
			target := servePeer(t, "peer0", test.peer.answer)
			if err := JoinChannel(t.Context(), target, identity, marshal(t, block)); !test.want(err) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestJoinChannelWithJunk(t *testing.T) {
	target := servePeer(t, "peer0", func(unpacked) (*peer.ProposalResponse, error) {
		t.Error("the peer was asked")
		return success(nil)
	})
	for name, block := range map[string][]byte{"no block": []byte("junk"), "empty block": nil, "no config": marshal(t, &common.Block{Header: &common.BlockHeader{}})} {
		if err := JoinChannel(t.Context(), target, grpctest.Identity(t), block); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
}

func TestJoinChannelUnreachable(t *testing.T) {
	target := servePeer(t, "peer0", func(unpacked) (*peer.ProposalResponse, error) { return nil, status.Error(codes.Unavailable, "away") })
	err := JoinChannel(t.Context(), target, grpctest.Identity(t), marshal(t, genesis(t, "trade", 0)))
	var failed *CallError
	if !errors.As(err, &failed) || failed.Peer != "peer0" {
		t.Errorf("%v", err)
	}
}

func TestQueries(t *testing.T) {
	identity := grpctest.Identity(t)
	l := &ledgers{t: t, held: map[string]*common.Block{"trade": genesis(t, "trade", 0), "audit": genesis(t, "audit", 0)}, height: 4}
	target := servePeer(t, "peer0", l.answer)
	if names, err := Channels(t.Context(), target, identity); err != nil || !slices.Equal(names, []string{"audit", "trade"}) {
		t.Errorf("Channels: %v, %v", names, err)
	}
	if info, err := ChainInfo(t.Context(), target, identity, "trade"); err != nil || info.GetHeight() != 4 {
		t.Errorf("ChainInfo: %v, %v", info, err)
	}
	if block, err := BlockByNumber(t.Context(), target, identity, "trade", 0); err != nil || !proto.Equal(block, l.held["trade"]) {
		t.Errorf("BlockByNumber: %v", err)
	}
	if block, err := ConfigBlock(t.Context(), target, identity, "audit"); err != nil || !proto.Equal(block, l.held["audit"]) {
		t.Errorf("ConfigBlock: %v", err)
	}
	if _, err := BlockByNumber(t.Context(), target, identity, "trade", 4); !errors.Is(err, ErrBlockNotFound) {
		t.Errorf("a block of the future: %v", err)
	}
	// A peer that joined by snapshot has not the first blocks: that is no block of the future.
	if _, err := BlockByNumber(t.Context(), target, identity, "trade", 3); errors.Is(err, ErrBlockNotFound) || !isRefusal(err) {
		t.Errorf("a block that a snapshot skipped: %v", err)
	}
}

func TestQueriesOfOtherChannels(t *testing.T) {
	identity := grpctest.Identity(t)
	queries := map[string]func(Peer) error{
		"ChainInfo":     func(p Peer) error { _, err := ChainInfo(t.Context(), p, identity, "other"); return err },
		"ConfigBlock":   func(p Peer) error { _, err := ConfigBlock(t.Context(), p, identity, "other"); return err },
		"BlockByNumber": func(p Peer) error { _, err := BlockByNumber(t.Context(), p, identity, "other", 0); return err },
	}
	absent := &ledgers{t: t, held: map[string]*common.Block{"trade": genesis(t, "trade", 0)}, height: 1}
	forbidden := &ledgers{t: t, held: map[string]*common.Block{"other": genesis(t, "other", 0)}, fault: "access denied"}
	hidden := &ledgers{t: t, held: map[string]*common.Block{}, unlisted: true}
	empty := &ledgers{t: t, held: map[string]*common.Block{"other": genesis(t, "other", 0)}, empty: true}
	for name, query := range queries {
		if err := query(servePeer(t, "peer0", absent.answer)); !errors.Is(err, ErrChannelNotFound) {
			t.Errorf("%s where it is absent: %v", name, err)
		}
		if err := query(servePeer(t, "peer0", forbidden.answer)); errors.Is(err, ErrChannelNotFound) || !isRefusal(err) {
			t.Errorf("%s where it is forbidden: %v", name, err)
		}
		if err := query(servePeer(t, "peer0", hidden.answer)); errors.Is(err, ErrChannelNotFound) || !isRefusal(err) {
			t.Errorf("%s where the list is hidden: %v", name, err)
		}
		if err := query(servePeer(t, "peer0", empty.answer)); err == nil || errors.Is(err, ErrChannelNotFound) {
			t.Errorf("%s of an empty answer: %v", name, err)
		}
	}
}

func TestJoinFromSnapshot(t *testing.T) {
	identity := grpctest.Identity(t)
	l := &ledgers{t: t}
	target := servePeer(t, "peer0", l.answer)
	if folder, err := SnapshotJoin(t.Context(), target, identity); err != nil || folder != "" {
		t.Errorf("before: %q, %v", folder, err)
	}
	if err := JoinFromSnapshot(t.Context(), target, identity, "/snapshots/7"); err != nil {
		t.Error(err)
	}
	if folder, err := SnapshotJoin(t.Context(), target, identity); err != nil || folder != "/snapshots/7" {
		t.Errorf("meanwhile: %q, %v", folder, err)
	}
	if err := JoinFromSnapshot(t.Context(), target, identity, "/snapshots/8"); !isRefusal(err) {
		t.Errorf("while it joins another one: %v", err)
	}
	l.fault = "no admin"
	if _, err := SnapshotJoin(t.Context(), target, identity); !isRefusal(err) {
		t.Errorf("refused: %v", err)
	}
}
