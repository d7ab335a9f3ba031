package network

import (
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	ordererproto "github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// TestDismissed: a node that was taken off a channel and has not heard of it is known by what the others say.
func TestDismissed(t *testing.T) {
	s := newSketch(t)
	ledger, remote := s.serveOrdering()
	node := s.orderer("orderer1")
	own := &sketchOrdering{t: t, blocks: []*common.Block{s.genesis}}
	s.serve(node, ordererPort, func(server *grpc.Server) { ordererproto.RegisterAtomicBroadcastServer(server, own) })
	spec := JoinedOrdererSpec{OrdererSpec: OrdererSpec{Handle: node}, Orderers: remote}
	change := func(edit func(*configtx.Config) error) {
		t.Helper()
		_, err := s.fabric.updateChannel(t.Context(), configUpdate{
			channel: s.channel, orderers: []Handle{s.orderer("orderer0")},
			admins: []Handle{s.organization("OrdererMSP"), s.organization("Org1MSP"), s.organization("Org2MSP")}, edit: edit,
		})
		s.must(err)
	}
	expect := func(when string, want bool) {
		t.Helper()
		if got := s.fabric.dismissed(t.Context(), spec, "trade"); got != want {
			t.Errorf("%s: dismissed is %v", when, got)
		}
	}
	expect("listed by all", false)
	change(func(config *configtx.Config) error { return config.SetBatch(configtx.Batch{MaxMessageCount: 42}) })
	expect("behind the others, and listed", false)
	change(func(config *configtx.Config) error {
		return config.RemoveConsenter(configtx.Address{Host: "orderer1.example.com", Port: ordererPort})
	})
	expect("taken off by the others", true)
	own.blocks = append(own.blocks, ledger.blocks[1:]...)
	expect("and knowing it", true)
	own.blocks = own.blocks[:1]
	spec.Handle.MSPID = "Org2MSP"
	change(func(config *configtx.Config) error { return config.RemoveApplicationOrganization("Org2MSP") })
	expect("when its organization may not even read the channel any more", true)
	spec.Orderers = map[string]RemoteOrderer{"nobody": {Address: "127.0.0.1:1", TLSRoots: remote["orderer0"].TLSRoots}}
	expect("when nobody else tells", false)
}
