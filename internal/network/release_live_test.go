package network

import (
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// systemChannel has an ordering node of Fabric 2 join a system channel, as only another tool would have it,
// and tries to take it to Fabric 3.
func (l *live) systemChannel(t *testing.T) {
	if l.version.Major() > 2 {
		t.Skip("Fabric 3 knows no system channel")
	}
	ctx, o := t.Context(), l.network.With(KindOrderer, "orderer9", "OrdererMSP")
	cluster := ClusterSpec{Handle: l.network.With(KindOrdererCluster, "old", "OrdererMSP"), Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}, Nodes: map[string]OrdererSpec{
		o.Name: {Handle: o, NodeOptions: liveOptions("hyperledger/fabric-orderer:" + l.version.String()), Version: l.version, Cluster: "old"},
	}}
	_, err := l.fabric.EnsureOrdererCluster(ctx, cluster)
	l.must(err)
	channel := configtx.Channel{Name: "system", ApplicationOrganizations: []configtx.ApplicationOrganization{{Definition: l.definitions["Org1MSP"].Definition}}}
	l.must(l.fabric.addOrdering(ctx, cluster.Handle, &channel))
	block, err := configtx.Genesis(channel)
	l.must(err)
	raw, err := proto.Marshal(consortiumsOf(t, block))
	l.must(err)
	l.must(l.fabric.joinWith(ctx, o, channel.Name, raw))

	raised := cluster.Nodes[o.Name]
	raised.Version, raised.Existing = release(t, "3.1.1"), true
	raised.Image = "hyperledger/fabric-orderer:3.1.1"
	cluster.Nodes[o.Name] = raised
	before, err := l.engine.Node(ctx, o.Object())
	l.must(err)
	_, err = l.fabric.EnsureOrdererCluster(ctx, cluster)
	if barred := new(ReleaseError); !errors.As(err, &barred) || barred.Bar != BarSystemChannel || barred.Channel != "system" {
		t.Errorf("taken to Fabric 3: %v", err)
	}
	if after, err := l.engine.Node(ctx, o.Object()); err != nil || after.ID != before.ID || after.Status != before.Status {
		t.Errorf("the node was %s %s, and is %s %s (%v)", before.ID, before.Status, after.ID, after.Status, err)
	}
}

// consortiumsOf makes the first block of an application channel one of a system channel: it has
// consortiums in place of an application.
func consortiumsOf(t *testing.T, block *common.Block) *common.Block {
	t.Helper()
	envelope, payload, config := &common.Envelope{}, &common.Payload{}, &common.ConfigEnvelope{}
	if err := errors.Join(
		proto.Unmarshal(block.GetData().GetData()[0], envelope), proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), config),
	); err != nil {
		t.Fatal(err)
	}
	groups := config.GetConfig().GetChannelGroup().GetGroups()
	delete(groups, "Application")
	groups["Consortiums"] = &common.ConfigGroup{ModPolicy: "/Channel/Orderer/Admins", Groups: map[string]*common.ConfigGroup{}}
	marshal := func(m proto.Message) []byte {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	payload.Data = marshal(config)
	envelope.Payload = marshal(payload)
	block.Data.Data[0] = marshal(envelope)
	hash := sha256.Sum256(block.GetData().GetData()[0])
	block.Header.DataHash = hash[:]
	return block
}
