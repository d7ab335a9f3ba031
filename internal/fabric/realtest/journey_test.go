package realtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	gatewayproto "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	peerproto "github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

const channel = "trade"

// journey is one network on its way from nodes to transactions; its steps build on each other.
type journey struct {
	*network
	ctx        context.Context
	org1, org2 *organization
	genesis    []byte
	packed     []byte
	packageID  string
	definition lifecycle.Definition
}

// TestJourney walks one channel from the first join to its removal, on each release.
func TestJourney(t *testing.T) {
	requireReal(t)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			j := &journey{ctx: ctx, org1: newOrganization(t, "Org1MSP"), org2: newOrganization(t, "Org2MSP")}
			j.network = startNetwork(t, version, 1, j.org1, j.org1, j.org2)
			j.genesis = j.network.genesis(t, channel)
			j.packChaincode(t)
			for _, node := range j.peers {
				// The servers belong to the whole journey, and may run before anything is installed.
				j.startChaincode(t, node, j.packageID)
			}
			for _, step := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"orderer joins", j.ordererJoins},
				{"orderer serves blocks", j.ordererServesBlocks},
				{"orderer refuses", j.ordererRefuses},
				{"peers join", j.peersJoin},
				{"peers serve the ledger", j.peersServeLedger},
				{"install", j.install},
				{"approve and commit", j.approveAndCommit},
				{"invoke on named peers", j.invokeOnNamedPeers},
				{"invoke through the gateway", j.invokeThroughGateway},
				{"lose races", j.loseRaces},
				{"upgrade with collections", j.upgrade},
				{"orderer leaves and rejoins", j.ordererLeaves},
			} {
				if !t.Run(step.name, step.run) {
					t.FailNow()
				}
			}
		})
	}
}

// await polls until the condition holds.
func await(ctx context.Context, t *testing.T, what string, condition func() error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	started := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return time.Since(started)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s for %s: %v", what, time.Since(started).Round(time.Second), err)
		case <-tick.C:
		}
	}
}

func (j *journey) ordererJoins(t *testing.T) {
	node := j.orderers[0]
	await(j.ctx, t, "the admin endpoint", func() error { _, err := node.admin.List(j.ctx); return err })
	if _, err := node.admin.Get(j.ctx, channel); !errors.Is(err, participation.ErrNotFound) {
		t.Fatalf("Get before the join: %v", err)
	}
	if err := node.admin.Remove(j.ctx, channel); !errors.Is(err, participation.ErrNotFound) {
		t.Fatalf("Remove before the join: %v", err)
	}
	if _, err := orderer.HasLeader(j.ctx, node.conn, j.org1.admin, channel); !errors.Is(err, orderer.ErrChannelNotFound) {
		t.Fatalf("HasLeader before the join: %v", err)
	}
	if _, err := node.admin.Join(j.ctx, []byte("no block")); err == nil || errors.Is(err, participation.ErrExists) {
		t.Fatalf("Join with no block: %v", err)
	}
	joined, err := node.admin.Join(j.ctx, j.genesis)
	if err != nil {
		t.Fatal(err)
	}
	if joined.Name != channel || joined.ConsensusRelation != participation.RelationConsenter || joined.Height != 1 {
		t.Errorf("joined as %+v", joined)
	}
	if _, err := node.admin.Join(j.ctx, j.genesis); !errors.Is(err, participation.ErrExists) {
		t.Fatalf("second Join: %v", err)
	}
	list, err := node.admin.List(j.ctx)
	if err != nil || len(list) != 1 || list[0].Name != channel {
		t.Fatalf("List: %v, %v", list, err)
	}
	got, err := node.admin.Get(j.ctx, channel)
	if err != nil || got.Status != participation.StatusActive {
		t.Fatalf("Get: %+v, %v", got, err)
	}
	statuses := map[string]int{}
	elapsed := await(j.ctx, t, "a leader", func() error {
		has, err := orderer.HasLeader(j.ctx, node.conn, j.org1.admin, channel)
		if err != nil {
			t.Fatal(err)
		}
		err = orderer.Broadcast(j.ctx, node.conn, j.filler(t))
		switch {
		case err == nil && !has:
			// The leader may have come between the two questions.
			if has, _ = orderer.HasLeader(j.ctx, node.conn, j.org1.admin, channel); !has {
				t.Error("an envelope was taken although no leader shows")
			}
		case err != nil:
			statuses[err.Error()]++
		}
		if !has || err != nil {
			return fmt.Errorf("leader %t, broadcast %w", has, err)
		}
		return nil
	})
	t.Logf("leader of one consenter %s after its join; before it broadcasts failed with %v", elapsed.Round(10*time.Millisecond), statuses)
}

// filler is an envelope that the ordering service takes and every peer finds invalid.
func (j *journey) filler(t *testing.T) *common.Envelope {
	t.Helper()
	proposal, err := endorser.NewProposal(j.org1.admin, endorser.Invocation{Channel: channel, Chaincode: "nothing"})
	if err != nil {
		t.Fatal(err)
	}
	transaction, err := endorser.NewTransaction(proposal, []endorser.Endorsement{{
		Peer: "nobody", Response: &peerproto.ProposalResponse{Payload: []byte("x"), Endorsement: &peerproto.Endorsement{Endorser: []byte("x"), Signature: []byte("x")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return transaction.Envelope
}

func (j *journey) ordererServesBlocks(t *testing.T) {
	conn := j.orderers[0].conn
	want := &common.Block{}
	if err := proto.Unmarshal(j.genesis, want); err != nil {
		t.Fatal(err)
	}
	for name, position := range map[string]orderer.Position{"Oldest": orderer.Oldest(), "At(0)": orderer.At(0)} {
		for _, options := range [][]orderer.Option{nil, {orderer.BestEffort()}} {
			block, err := orderer.Block(j.ctx, conn, j.org1.admin, channel, position, options...)
			if err != nil || !proto.Equal(block.GetHeader(), want.GetHeader()) || !proto.Equal(block.GetData(), want.GetData()) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	config, err := orderer.LastConfigBlock(j.ctx, conn, j.org1.admin, channel)
	if err != nil || config.GetHeader().GetNumber() != 0 {
		t.Errorf("LastConfigBlock: %v, %v", config.GetHeader(), err)
	}
	if _, err := orderer.Block(j.ctx, conn, j.org1.admin, channel, orderer.At(1000)); !errors.Is(err, orderer.ErrBlockNotFound) {
		t.Errorf("a block that is not there: %v", err)
	}
	if _, err := orderer.Block(j.ctx, conn, j.org1.admin, "other", orderer.At(0)); !errors.Is(err, orderer.ErrChannelNotFound) {
		t.Errorf("a channel that is not there: %v", err)
	}
}

func (j *journey) ordererRefuses(t *testing.T) {
	stranger := newOrganization(t, "StrangerMSP").admin
	var refused *orderer.StatusError
	_, err := orderer.Block(j.ctx, j.orderers[0].conn, stranger, channel, orderer.Newest())
	if !errors.As(err, &refused) || refused.Status != common.Status_FORBIDDEN || refused.Transient() {
		t.Errorf("a stranger reads: %v", err)
	}
	err = orderer.Broadcast(j.ctx, j.orderers[0].conn, &common.Envelope{Payload: []byte("junk")})
	if !errors.As(err, &refused) || refused.Status != common.Status_BAD_REQUEST || refused.Info == "" {
		t.Errorf("junk is submitted: %v", err)
	}
}

func (j *journey) peersJoin(t *testing.T) {
	for _, node := range j.peers {
		admin := node.organization.admin
		await(j.ctx, t, "the peer", func() error { _, err := endorser.Channels(j.ctx, node.Peer, admin); return err })
		for round := range 2 {
			if err := endorser.JoinChannel(j.ctx, node.Peer, admin, j.genesis); err != nil {
				t.Fatalf("join %d: %v", round+1, err)
			}
		}
		if joined, err := endorser.Channels(j.ctx, node.Peer, admin); err != nil || !slices.Equal(joined, []string{channel}) {
			t.Fatalf("Channels: %v, %v", joined, err)
		}
	}
	// The same name with other content: a fresh genesis block has another transaction ID inside.
	err := endorser.JoinChannel(j.ctx, j.peers[0].Peer, j.org1.admin, j.network.genesis(t, channel))
	if !errors.Is(err, endorser.ErrOtherGenesis) {
		t.Errorf("join with another genesis block: %v", err)
	}
	var refused *endorser.RefusedError
	err = endorser.JoinChannel(j.ctx, j.peers[0].Peer, j.org1.identity(t, "user", "client"), j.network.genesis(t, "second"))
	if !errors.As(err, &refused) || refused.Peer != j.peers[0].name {
		t.Errorf("join as no admin: %v", err)
	}
}

func (j *journey) peersServeLedger(t *testing.T) {
	target := j.peers[0].Peer
	info, err := endorser.ChainInfo(j.ctx, target, j.org1.admin, channel)
	if err != nil || info.GetHeight() == 0 {
		t.Errorf("ChainInfo: %v, %v", info, err)
	}
	// Another organization's member may read as well.
	if _, err := endorser.ChainInfo(j.ctx, target, j.org2.admin, channel); err != nil {
		t.Errorf("ChainInfo for another organization: %v", err)
	}
	block, err := endorser.BlockByNumber(j.ctx, target, j.org1.admin, channel, 0)
	if err != nil || block.GetHeader().GetNumber() != 0 {
		t.Errorf("BlockByNumber: %v", err)
	}
	if _, err := endorser.BlockByNumber(j.ctx, target, j.org1.admin, channel, 1000); !errors.Is(err, endorser.ErrBlockNotFound) {
		t.Errorf("a block that is not there: %v", err)
	}
	if config, err := endorser.ConfigBlock(j.ctx, target, j.org1.admin, channel); err != nil || config.GetHeader().GetNumber() != 0 {
		t.Errorf("ConfigBlock: %v", err)
	}
	for name, query := range map[string]func() error{
		"ChainInfo":     func() error { _, err := endorser.ChainInfo(j.ctx, target, j.org1.admin, "other"); return err },
		"ConfigBlock":   func() error { _, err := endorser.ConfigBlock(j.ctx, target, j.org1.admin, "other"); return err },
		"BlockByNumber": func() error { _, err := endorser.BlockByNumber(j.ctx, target, j.org1.admin, "other", 0); return err },
	} {
		if err := query(); !errors.Is(err, endorser.ErrChannelNotFound) {
			t.Errorf("%s of a channel that is not there: %v", name, err)
		}
	}
}

func (j *journey) packChaincode(t *testing.T) {
	packed, err := lifecycle.Package(lifecycle.PackageRequest{
		Label: "kv_1.0", Connection: lifecycle.Connection{Address: "{{.peername}}-kv:9999"},
		Metadata: map[string][]byte{"statedb/couchdb/indexes/owner.json": []byte(`{"index":{"fields":["owner"]},"name":"owner","type":"json"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	j.packed, j.packageID = packed, lifecycle.PackageID("kv_1.0", packed)
}

func (j *journey) install(t *testing.T) {
	packed := j.packed
	for _, node := range j.peers {
		admin := node.organization.admin
		if _, err := lifecycle.GetInstalled(j.ctx, node.Peer, admin, j.packageID); !errors.Is(err, lifecycle.ErrNotInstalled) {
			t.Errorf("GetInstalled before: %v", err)
		}
		for round := range 2 {
			if id, err := lifecycle.Install(j.ctx, node.Peer, admin, packed); err != nil || id != j.packageID {
				t.Fatalf("install %d: %s, %v", round+1, id, err)
			}
		}
		held, err := lifecycle.GetInstalled(j.ctx, node.Peer, admin, j.packageID)
		if err != nil || !bytes.Equal(held, packed) {
			t.Errorf("GetInstalled: %v", err)
		}
		list, err := lifecycle.QueryInstalled(j.ctx, node.Peer, admin)
		if err != nil || len(list) != 1 || list[0].PackageID != j.packageID || list[0].Label != "kv_1.0" {
			t.Errorf("QueryInstalled: %v, %v", list, err)
		}
	}
	if _, err := lifecycle.Install(j.ctx, j.peers[0].Peer, j.org1.admin, []byte("no package")); lifecycle.ClassOf(err) != lifecycle.ClassUserError {
		t.Errorf("install of no package: class %s, %v", lifecycle.ClassOf(err), err)
	}
	_, err := lifecycle.Install(j.ctx, j.peers[0].Peer, j.org1.admin, unbuildable(t))
	if lifecycle.ClassOf(err) != lifecycle.ClassNodeFault {
		t.Errorf("install of a package that the peer cannot build: class %s, %v", lifecycle.ClassOf(err), err)
	}
	t.Logf("a peer that cannot build: %v", err)
	_, err = lifecycle.Install(j.ctx, j.peers[0].Peer, j.org1.identity(t, "user", "client"), unbuildable(t))
	if lifecycle.ClassOf(err) != lifecycle.ClassPermanent {
		t.Errorf("install as no admin: class %s, %v", lifecycle.ClassOf(err), err)
	}
}

func (j *journey) approveAndCommit(t *testing.T) {
	parsed, err := policy.ParseApplicationPolicy("AND('Org1MSP.peer', 'Org2MSP.peer')")
	if err != nil {
		t.Fatal(err)
	}
	parameter, err := parsed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	j.definition = lifecycle.Definition{Name: "kv", Version: "1.0", Sequence: 1, ValidationParameter: parameter}
	d, org1Peers := j.definition, []endorser.Peer{j.peers[0].Peer, j.peers[1].Peer}
	gatewayPeer, other := j.peers[0].Peer, j.peers[2].Peer

	if _, err := lifecycle.QueryApproved(j.ctx, gatewayPeer, j.org1.admin, channel, d.Name, 1); !errors.Is(err, lifecycle.ErrNotApproved) {
		t.Errorf("QueryApproved before: %v", err)
	}
	if _, err := lifecycle.QueryCommitted(j.ctx, gatewayPeer, j.org1.admin, channel, d.Name); !errors.Is(err, lifecycle.ErrNotCommitted) {
		t.Errorf("QueryCommitted before: %v", err)
	}
	wrong := d
	wrong.Sequence = 3
	if _, err := lifecycle.Approve(j.ctx, j.org1.admin, channel, wrong, j.packageID, org1Peers...); lifecycle.ClassOf(err) != lifecycle.ClassOutOfStep {
		t.Errorf("approval of sequence 3: class %s, %v", lifecycle.ClassOf(err), err)
	} else {
		t.Log(err)
	}
	wrong = d
	wrong.Name = "no name"
	if _, err := lifecycle.Approve(j.ctx, j.org1.admin, channel, wrong, j.packageID, org1Peers...); lifecycle.ClassOf(err) != lifecycle.ClassUserError {
		t.Errorf("approval of a wrong name: class %s, %v", lifecycle.ClassOf(err), err)
	}

	first, err := lifecycle.Approve(j.ctx, j.org1.admin, channel, d, j.packageID, org1Peers...)
	if err != nil {
		t.Fatal(err)
	}
	j.measureFirstSubmit(t, gatewayPeer, first)
	j.awaitCommit(t, first)
	if _, err := lifecycle.Approve(j.ctx, j.org1.admin, channel, d, j.packageID, org1Peers...); lifecycle.ClassOf(err) != lifecycle.ClassAlreadyDone {
		t.Errorf("second approval: class %s, %v", lifecycle.ClassOf(err), err)
	}
	for _, target := range org1Peers {
		approved, err := lifecycle.QueryApproved(j.ctx, target, j.org1.admin, channel, d.Name, 0)
		if err != nil || approved.PackageID != j.packageID || len(approved.Diff(d)) > 0 {
			t.Errorf("QueryApproved on %s: %+v, %v", target.Name, approved, err)
		}
	}
	readiness, err := lifecycle.CheckCommitReadiness(j.ctx, gatewayPeer, j.org1.admin, channel, d)
	if err != nil || !readiness.Approvals["Org1MSP"] || readiness.Approvals["Org2MSP"] || len(readiness.Approvals) != 2 {
		t.Errorf("readiness: %+v, %v", readiness, err)
	}
	_, err = lifecycle.Commit(j.ctx, j.org1.admin, channel, d, gatewayPeer, other)
	if lifecycle.ClassOf(err) != lifecycle.ClassWaitForOthers || !strings.Contains(err.Error(), "Org2MSP") {
		t.Errorf("commit before the second approval: class %s, %v", lifecycle.ClassOf(err), err)
	} else {
		t.Log(err)
	}

	// Organization 2 approves without a package at first, then with it: its approval changes.
	for _, packageID := range []string{"", j.packageID} {
		second, err := lifecycle.Approve(j.ctx, j.org2.admin, channel, d, packageID, other)
		if err != nil {
			t.Fatal(err)
		}
		if err := gateway.Submit(j.ctx, other.Conn, second); err != nil {
			t.Fatal(err)
		}
		j.awaitCommit(t, second)
		approved, err := lifecycle.QueryApproved(j.ctx, other, j.org2.admin, channel, d.Name, 1)
		if err != nil || approved.PackageID != packageID {
			t.Errorf("QueryApproved: %+v, %v", approved, err)
		}
	}

	commit, err := lifecycle.Commit(j.ctx, j.org1.admin, channel, d, gatewayPeer, other)
	if err != nil {
		t.Fatal(err)
	}
	// Sent twice on purpose: the ledger takes a transaction once, and its status stays valid.
	for range 2 {
		if err := gateway.Submit(j.ctx, gatewayPeer.Conn, commit); err != nil {
			t.Fatal(err)
		}
	}
	j.awaitCommit(t, commit)
	committed, err := lifecycle.QueryCommitted(j.ctx, other, j.org2.admin, channel, d.Name)
	if err != nil || len(committed.Diff(d)) > 0 || !committed.Approvals["Org1MSP"] || !committed.Approvals["Org2MSP"] {
		t.Errorf("QueryCommitted: %+v, %v", committed, err)
	}
	if _, err := lifecycle.Commit(j.ctx, j.org1.admin, channel, d, gatewayPeer, other); lifecycle.ClassOf(err) != lifecycle.ClassAlreadyDone {
		t.Errorf("second commit: class %s, %v", lifecycle.ClassOf(err), err)
	}
	changed := d
	changed.Version = "2.0"
	_, err = lifecycle.CheckCommitReadiness(j.ctx, gatewayPeer, j.org1.admin, channel, changed)
	if lifecycle.ClassOf(err) != lifecycle.ClassOutOfStep || !strings.Contains(err.Error(), "version: 1.0 -> 2.0") {
		t.Errorf("readiness of a changed definition: class %s, %v", lifecycle.ClassOf(err), err)
	}
	list, err := lifecycle.QueryInstalled(j.ctx, gatewayPeer, j.org1.admin)
	if err != nil || len(list) != 1 || !slices.Equal(list[0].References[channel], []lifecycle.Reference{{Name: "kv", Version: "1.0"}}) {
		t.Errorf("QueryInstalled: %+v, %v", list, err)
	}
}

// measureFirstSubmit submits without retries, to see what a caller has to expect of a peer that has
// just joined.
func (j *journey) measureFirstSubmit(t *testing.T, target endorser.Peer, transaction *endorser.Transaction) {
	t.Helper()
	failures := map[string]int{}
	elapsed := await(j.ctx, t, "a submission", func() error {
		_, err := gatewayproto.NewGatewayClient(target.Conn).Submit(j.ctx, &gatewayproto.SubmitRequest{
			TransactionId: transaction.TxID, ChannelId: channel, PreparedTransaction: transaction.Envelope,
		})
		if err != nil {
			failures[err.Error()]++
		}
		return err
	})
	t.Logf("first submission through a gateway took %s; failures before: %v", elapsed.Round(time.Millisecond), failures)
}

func (j *journey) awaitCommit(t *testing.T, transaction *endorser.Transaction) {
	t.Helper()
	for _, node := range j.peers {
		if _, err := gateway.CommitStatus(j.ctx, node.Conn, node.organization.admin, transaction.Channel, transaction.TxID); err != nil {
			t.Fatal(err)
		}
	}
}

func (j *journey) put(t *testing.T, key, value string) *endorser.Proposal {
	t.Helper()
	proposal, err := endorser.NewProposal(j.org1.admin, endorser.Invocation{
		Channel: channel, Chaincode: "kv", Args: [][]byte{[]byte("put"), []byte(key), []byte(value)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return proposal
}

func (j *journey) invokeOnNamedPeers(t *testing.T) {
	gatewayPeer, other := j.peers[0].Peer, j.peers[2].Peer
	proposal := j.put(t, "colour", "blue")
	endorsements, err := endorser.Endorse(j.ctx, proposal, gatewayPeer, other)
	if err != nil {
		t.Fatal(err)
	}
	transaction, err := endorser.NewTransaction(proposal, endorsements)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := transaction.Result(); err != nil || string(result) != "blue" {
		t.Errorf("result %q, %v", result, err)
	}
	block, err := gateway.SubmitAndWait(j.ctx, gatewayPeer.Conn, j.org1.admin, transaction)
	if err != nil || block == 0 {
		t.Fatalf("block %d, %v", block, err)
	}
	// One organization alone does not satisfy the policy: the ledger says so, not the peer.
	proposal = j.put(t, "colour", "red")
	endorsements, err = endorser.Endorse(j.ctx, proposal, gatewayPeer)
	if err != nil {
		t.Fatal(err)
	}
	if transaction, err = endorser.NewTransaction(proposal, endorsements); err != nil {
		t.Fatal(err)
	}
	_, err = gateway.SubmitAndWait(j.ctx, gatewayPeer.Conn, j.org1.admin, transaction)
	var invalid *gateway.InvalidError
	if !errors.As(err, &invalid) || invalid.Code != peerproto.TxValidationCode_ENDORSEMENT_POLICY_FAILURE || invalid.Block == 0 {
		t.Errorf("one endorsement of two: %v", err)
	}
	// A chaincode's own refusal.
	query, err := endorser.NewProposal(j.org1.admin, endorser.Invocation{Channel: channel, Chaincode: "kv", Args: [][]byte{[]byte("get"), []byte("absent")}})
	if err != nil {
		t.Fatal(err)
	}
	var refused *endorser.RefusedError
	if _, err := endorser.Evaluate(j.ctx, query, other); !errors.As(err, &refused) || !strings.Contains(refused.Message, "absent") {
		t.Errorf("a refused query: %v", err)
	}
}

func (j *journey) invokeThroughGateway(t *testing.T) {
	conn := j.peers[2].Conn
	value, err := gateway.Evaluate(j.ctx, conn, j.org2.admin, gateway.Request{Channel: channel, Chaincode: "kv", Function: "get", Args: [][]byte{[]byte("colour")}})
	if err != nil || string(value) != "blue" {
		t.Errorf("Evaluate: %q, %v", value, err)
	}
	_, err = gateway.Evaluate(j.ctx, conn, j.org2.admin, gateway.Request{Channel: channel, Chaincode: "kv", Function: "get", Args: [][]byte{[]byte("absent")}})
	var failed *gateway.Error
	if !errors.As(err, &failed) || len(failed.Details) == 0 || failed.Details[0].MSPID != "Org2MSP" {
		t.Errorf("a refused query: %v", err)
	} else {
		t.Log(err)
	}
	// Discovery of the other organization's peers takes gossip some seconds after the joins.
	failures := map[string]int{}
	elapsed := await(j.ctx, t, "discovery", func() error {
		ctx, cancel := context.WithTimeout(j.ctx, 10*time.Second)
		defer cancel()
		result, err := gateway.SubmitTransaction(ctx, conn, j.org2.admin, gateway.Request{
			Channel: channel, Chaincode: "kv", Function: "put", Args: [][]byte{[]byte("shape"), []byte("round")},
		})
		if err != nil {
			failures[err.Error()]++
			return err
		}
		if string(result.Payload) != "round" || result.Block == 0 || result.TxID == "" {
			t.Errorf("result %+v", result)
		}
		return nil
	})
	t.Logf("a transaction endorsed through discovery took %s; failures before: %v", elapsed.Round(time.Millisecond), failures)
	_, err = gateway.SubmitTransaction(j.ctx, conn, j.org2.admin, gateway.Request{
		Channel: channel, Chaincode: "kv", Function: "put", Args: [][]byte{[]byte("shape"), []byte("flat")},
		Organizations: []string{"Org1MSP", "Org2MSP"},
	})
	if err != nil {
		t.Errorf("SubmitTransaction with named organizations: %v", err)
	}
	_, err = gateway.SubmitTransaction(j.ctx, conn, j.org2.admin, gateway.Request{
		Channel: channel, Chaincode: "kv", Function: "put", Args: [][]byte{[]byte("shape")},
	})
	if !errors.As(err, &failed) {
		t.Errorf("a refused transaction: %v", err)
	} else {
		t.Log(err)
	}
}

// loseRaces has what a transaction read changed before it is committed: made anew, it succeeds.
func (j *journey) loseRaces(t *testing.T) {
	for _, c := range []struct {
		code peerproto.TxValidationCode
		read [][]byte
		key  string
	}{
		{peerproto.TxValidationCode_MVCC_READ_CONFLICT, [][]byte{[]byte("get"), []byte("colour")}, "colour"},
		{peerproto.TxValidationCode_PHANTOM_READ_CONFLICT, [][]byte{[]byte("list"), []byte("race")}, "race1"},
	} {
		read := func() *endorser.Transaction {
			proposal, err := endorser.NewProposal(j.org1.admin, endorser.Invocation{Channel: channel, Chaincode: "kv", Args: c.read})
			if err != nil {
				t.Fatal(err)
			}
			return j.endorsed(t, proposal)
		}
		loser := read()
		if _, err := gateway.SubmitAndWait(j.ctx, j.peers[0].Conn, j.org1.admin, j.endorsed(t, j.put(t, c.key, "green"))); err != nil {
			t.Fatal(err)
		}
		_, err := gateway.SubmitAndWait(j.ctx, j.peers[0].Conn, j.org1.admin, loser)
		var invalid *gateway.InvalidError
		if !errors.As(err, &invalid) || invalid.Code != c.code || !invalid.Conflict() || lifecycle.ClassOf(err) == lifecycle.ClassTransient {
			t.Errorf("what lost a race for %s: %v", c.key, err)
		}
		j.awaitCommit(t, j.submitted(t, j.endorsed(t, j.put(t, c.key, "blue"))))
		if _, err := gateway.SubmitAndWait(j.ctx, j.peers[0].Conn, j.org1.admin, read()); err != nil {
			t.Errorf("made anew: %v", err)
		}
	}
}

// endorsed has a peer of each organization endorse.
func (j *journey) endorsed(t *testing.T, proposal *endorser.Proposal) *endorser.Transaction {
	t.Helper()
	endorsements, err := endorser.Endorse(j.ctx, proposal, j.peers[0].Peer, j.peers[2].Peer)
	if err != nil {
		t.Fatal(err)
	}
	transaction, err := endorser.NewTransaction(proposal, endorsements)
	if err != nil {
		t.Fatal(err)
	}
	return transaction
}

func (j *journey) submitted(t *testing.T, transaction *endorser.Transaction) *endorser.Transaction {
	t.Helper()
	if err := gateway.Submit(j.ctx, j.peers[0].Conn, transaction); err != nil {
		t.Fatal(err)
	}
	return transaction
}

func (j *journey) upgrade(t *testing.T) {
	members, err := policy.Parse("OR('Org1MSP.member', 'Org2MSP.member')")
	if err != nil {
		t.Fatal(err)
	}
	d := j.definition
	d.Sequence, d.Version = 2, "1.1"
	d.Collections = &peerproto.CollectionConfigPackage{Config: []*peerproto.CollectionConfig{{
		Payload: &peerproto.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: &peerproto.StaticCollectionConfig{
			Name: "secrets", MaximumPeerCount: 1, BlockToLive: 100, MemberOnlyRead: true,
			MemberOrgsPolicy: &peerproto.CollectionPolicyConfig{Payload: &peerproto.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: members.Envelope()}},
		}},
	}}}
	for _, approval := range []struct {
		organization *organization
		peers        []endorser.Peer
	}{{j.org1, []endorser.Peer{j.peers[0].Peer, j.peers[1].Peer}}, {j.org2, []endorser.Peer{j.peers[2].Peer}}} {
		transaction, err := lifecycle.Approve(j.ctx, approval.organization.admin, channel, d, j.packageID, approval.peers...)
		if err != nil {
			t.Fatal(err)
		}
		if err := gateway.Submit(j.ctx, approval.peers[0].Conn, transaction); err != nil {
			t.Fatal(err)
		}
		j.awaitCommit(t, transaction)
	}
	transaction, err := lifecycle.Commit(j.ctx, j.org1.admin, channel, d, j.peers[0].Peer, j.peers[2].Peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := gateway.Submit(j.ctx, j.peers[0].Conn, transaction); err != nil {
		t.Fatal(err)
	}
	j.awaitCommit(t, transaction)
	committed, err := lifecycle.QueryCommitted(j.ctx, j.peers[1].Peer, j.org1.admin, channel, d.Name)
	if err != nil || len(committed.Diff(d)) > 0 {
		t.Errorf("QueryCommitted: %v, %v", committed.Diff(d), err)
	}
	list, err := lifecycle.QueryAllCommitted(j.ctx, j.peers[1].Peer, j.org1.admin, channel)
	if err != nil || len(list) != 1 || len(list[0].Diff(d)) > 0 {
		t.Errorf("QueryAllCommitted: %v, %v", list, err)
	}
	secret := map[string][]byte{"value": []byte("hush")}
	if _, err := gateway.SubmitTransaction(j.ctx, j.peers[0].Conn, j.org1.admin, gateway.Request{
		Channel: channel, Chaincode: "kv", Function: "putPrivate", Args: [][]byte{[]byte("secrets"), []byte("a")}, Transient: secret,
		Organizations: []string{"Org1MSP", "Org2MSP"},
	}); err != nil {
		t.Errorf("a private write: %v", err)
	}
	value, err := gateway.Evaluate(j.ctx, j.peers[0].Conn, j.org1.admin, gateway.Request{
		Channel: channel, Chaincode: "kv", Function: "getPrivate", Args: [][]byte{[]byte("secrets"), []byte("a")},
	})
	if err != nil || string(value) != "hush" {
		t.Errorf("a private read: %q, %v", value, err)
	}
}

func (j *journey) ordererLeaves(t *testing.T) {
	node := j.orderers[0]
	started := time.Now()
	if err := node.admin.Remove(j.ctx, channel); err != nil {
		t.Fatal(err)
	}
	if err := node.admin.AwaitRemoved(j.ctx, channel); err != nil {
		t.Fatal(err)
	}
	t.Logf("removed after %s", time.Since(started).Round(time.Millisecond))
	if err := node.admin.Remove(j.ctx, channel); !errors.Is(err, participation.ErrNotFound) {
		t.Errorf("second Remove: %v", err)
	}
	if list, err := node.admin.List(j.ctx); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	joined, err := node.admin.Join(j.ctx, j.genesis)
	if err != nil || joined.Height != 1 {
		t.Fatalf("rejoin: %+v, %v", joined, err)
	}
	elapsed := await(j.ctx, t, "a leader", func() error {
		has, err := orderer.HasLeader(j.ctx, node.conn, j.org1.admin, channel)
		if err == nil && !has {
			err = errors.New("no leader")
		}
		return err
	})
	revived, err := orderer.Block(j.ctx, node.conn, j.org1.admin, channel, orderer.Newest())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("leader %s after the rejoin with the same block; newest block %d", elapsed.Round(time.Millisecond), revived.GetHeader().GetNumber())

	// The name again, for another channel. A removal leaves the Raft log behind, whose blocks do not
	// fit the new chain: unless the log goes as well, the node panics.
	if err := node.admin.Remove(j.ctx, channel); err != nil {
		t.Fatal(err)
	}
	if err := node.admin.AwaitRemoved(j.ctx, channel); err != nil {
		t.Fatal(err)
	}
	const raft = "/var/hyperledger/production/orderer/etcdraft"
	if left := docker(t, nil, "exec", node.name, "ls", raft+"/wal/"+channel); left == "" {
		t.Error("the removal took the Raft log: the cleaning is no longer needed")
	}
	docker(t, nil, "exec", node.name, "rm", "-r", raft+"/wal/"+channel, raft+"/snapshot/"+channel)
	j.genesis = j.network.genesis(t, channel)
	if _, err := node.admin.Join(j.ctx, j.genesis); err != nil {
		t.Fatal(err)
	}
	elapsed = await(j.ctx, t, "a leader of the new channel", func() error {
		has, err := orderer.HasLeader(j.ctx, node.conn, j.org1.admin, channel)
		if err == nil && !has {
			err = errors.New("no leader")
		}
		return err
	})
	block, err := orderer.Block(j.ctx, node.conn, j.org1.admin, channel, orderer.Newest())
	if err != nil || block.GetHeader().GetNumber() != 0 {
		t.Errorf("newest block of the new channel: %d, %v", block.GetHeader().GetNumber(), err)
	}
	if err := orderer.Broadcast(j.ctx, node.conn, j.filler(t)); err != nil {
		t.Error(err)
	}
	t.Logf("leader %s after the join with another block", elapsed.Round(time.Millisecond))
}

// unbuildable is a well-formed package of Go source, which a peer without a Docker engine cannot
// build.
func unbuildable(t *testing.T) []byte {
	t.Helper()
	code := gzipped(t, map[string][]byte{"src/main.go": []byte("package main\n")})
	return gzipped(t, map[string][]byte{
		"metadata.json": []byte(`{"type":"golang","path":"src","label":"broken_1"}`), "code.tar.gz": code,
	})
}
