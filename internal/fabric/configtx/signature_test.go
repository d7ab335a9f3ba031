package configtx

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

func TestSignatures(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	_, base := genesis(t, n.channel())
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 1}); err != nil {
		t.Fatal(err)
	}
	update := mustMarshalUpdate(t, updateBetween(t, base, to))
	if err := to.SetBatch(Batch{MaxMessageCount: 2}); err != nil {
		t.Fatal(err)
	}
	another := mustMarshalUpdate(t, updateBetween(t, base, to))

	made, err := SignUpdate(update, p["orderer.admin"])
	if err != nil {
		t.Fatal(err)
	}
	// As it goes over: bytes.
	signature, err := ParseSignature(marshal(t, made))
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(p["orderer.admin"].CertificatePEM)
	want := Signer{MSPID: "OrdererMSP", CertificatePEM: certificate}
	for _, given := range []string{"", certificate, "text\n" + certificate} {
		if got, err := VerifySignature(update, signature, given); err != nil || got != want {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if got, err := SignerOf(signature); err != nil || got != want {
		t.Errorf("signer %v, %v", got, err)
	}

	changed := proto.Clone(signature).(*common.ConfigSignature)
	changed.Signature[len(changed.Signature)-1] ^= 1
	header := proto.Clone(signature).(*common.ConfigSignature)
	header.SignatureHeader = marshal(t, &common.SignatureHeader{Creator: marshal(t, &mspproto.SerializedIdentity{Mspid: "OrdererMSP", IdBytes: p["orderer.client"].CertificatePEM})})
	for name, c := range map[string]struct {
		update      []byte
		signature   *common.ConfigSignature
		certificate string
	}{
		"another update":      {another, signature, ""},
		"the update cut":      {update[:len(update)-1], signature, ""},
		"another certificate": {update, signature, string(p["orderer.client"].CertificatePEM)},
		"changed":             {update, changed, ""},
		"another header":      {update, header, ""},
	} {
		if _, err := VerifySignature(c.update, c.signature, c.certificate); !errors.Is(err, ErrSignatureOfAnother) || !strings.HasPrefix(err.Error(), "unable to verify the signature of OrdererMSP over the config update: the signature is not one of this update") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string][]byte{
		"nothing":    nil,
		"damaged":    {0xff},
		"no creator": marshal(t, &common.ConfigSignature{SignatureHeader: marshal(t, &common.SignatureHeader{Nonce: []byte{1}})}),
		"no certificate": marshal(t, &common.ConfigSignature{SignatureHeader: marshal(t, &common.SignatureHeader{
			Creator: marshal(t, &mspproto.SerializedIdentity{Mspid: "M", IdBytes: []byte("x")}),
		})}),
	} {
		if _, err := ParseSignature(bad); err == nil || !strings.HasPrefix(err.Error(), "unable to read the signature of a config update: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpdateEnvelope(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	_, base := genesis(t, n.channel())
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 1}); err != nil {
		t.Fatal(err)
	}
	update := mustMarshalUpdate(t, updateBetween(t, base, to))
	envelope := signed(t, p, "trade", update, []string{"orderer.admin", "one.admin"}, "two.client")
	payload, header, channel, inner := &common.Payload{}, &common.SignatureHeader{}, &common.ChannelHeader{}, &common.ConfigUpdateEnvelope{}
	for _, err := range []error{
		proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), header),
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), channel), proto.Unmarshal(payload.GetData(), inner),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if channel.GetType() != int32(common.HeaderType_CONFIG_UPDATE) || channel.GetChannelId() != "trade" {
		t.Errorf("header %v", channel)
	}
	if !bytes.Equal(inner.GetConfigUpdate(), update) || len(inner.GetSignatures()) != 2 {
		t.Error("the update or its signatures are others")
	}
	for _, signature := range inner.GetSignatures() {
		if _, err := VerifySignature(inner.GetConfigUpdate(), signature, ""); err != nil {
			t.Error(err)
		}
	}
	creator, err := p["two.client"].Serialized()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(header.GetCreator(), creator) {
		t.Error("the submitter is somebody else")
	}
}

func TestParseUpdate(t *testing.T) {
	group := &common.ConfigGroup{}
	deep := group
	for range 40 {
		deep.Groups = map[string]*common.ConfigGroup{"a": {}}
		deep = deep.Groups["a"]
	}
	for name, c := range map[string]struct {
		update *common.ConfigUpdate
		want   string
	}{
		"no channel":     {&common.ConfigUpdate{WriteSet: &common.ConfigGroup{}}, "unable to use an empty channel name"},
		"no write set":   {&common.ConfigUpdate{ChannelId: "trade"}, "it writes nothing"},
		"too deep":       {&common.ConfigUpdate{ChannelId: "trade", WriteSet: group}, "its write set is damaged: its groups nest more than 16 deep"},
		"key":            {&common.ConfigUpdate{ChannelId: "trade", WriteSet: &common.ConfigGroup{}, ReadSet: &common.ConfigGroup{Values: map[string]*common.ConfigValue{"a b": {}}}}, `its read set is damaged: the key "a b" below /Channel holds ' '`},
		"slash in a key": {&common.ConfigUpdate{ChannelId: "trade", WriteSet: &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"a/b": {}}}}, `its write set is damaged: the key "a/b" below /Channel holds '/'`},
	} {
		if _, err := ParseUpdate(marshal(t, c.update)); err == nil || !strings.HasPrefix(err.Error(), "unable to read the config update: "+c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ParseUpdate([]byte{0xff}); err == nil {
		t.Error("damaged bytes are read")
	}
}

// TestOutdated is about updates of another version of the channel, which must be made again.
func TestOutdated(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	edited := func(edit func(*Config) error) *common.ConfigUpdate {
		to := base.Clone()
		if err := edit(to); err != nil {
			t.Fatal(err)
		}
		return updateBetween(t, base, to)
	}
	batch := edited(func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 1}) })
	remove := edited(func(c *Config) error { return c.RemoveApplicationOrganization("Org1MSP") })
	anchor := edited(func(c *Config) error {
		return c.SetApplicationOrganization(ApplicationOrganization{Definition: n.org1.Definition, AnchorPeers: []Address{{"new", 1}}})
	})
	after := func(update *common.ConfigUpdate) *Config {
		c, err := Apply(base, update)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, c := range map[string]struct {
		base   *Config
		update *common.ConfigUpdate
		want   string
	}{
		"twice":   {after(batch), batch, "it raises /Channel/Orderer/BatchSize to version 1, which is at version 1"},
		"gone":    {after(remove), anchor, "it read version 0 of /Channel/Application, which is at version 1"},
		"another": {after(remove), remove, "it read version 0 of /Channel/Application, which is at version 1"},
	} {
		_, errApply := Apply(c.base, c.update)
		_, errChanges := Changes(c.base, c.update)
		_, errRequirements := Requirements(c.base, c.update)
		for _, err := range []error{errApply, errChanges, errRequirements} {
			if !errors.Is(err, ErrOutdated) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	// Updates of different parts of a channel do not outdate each other.
	if _, err := Apply(after(batch), anchor); err != nil {
		t.Error(err)
	}
	other := proto.Clone(batch).(*common.ConfigUpdate)
	other.ChannelId = "other"
	if _, err := Apply(base, other); err == nil || !strings.Contains(err.Error(), `the update is one of the channel "other"`) {
		t.Errorf("another channel: %v", err)
	}
	same := &common.ConfigUpdate{ChannelId: "trade", ReadSet: batch.GetReadSet(), WriteSet: batch.GetReadSet()}
	if _, err := Apply(base, same); !errors.Is(err, ErrNoChange) {
		t.Errorf("nothing: %v", err)
	}
}

// TestUpdatesOfOthers are updates that no setter makes, as Fabric takes them.
func TestUpdatesOfOthers(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	groups := base.Proto.ChannelGroup.Groups
	orderer := func(group *common.ConfigGroup) *common.ConfigUpdate {
		return &common.ConfigUpdate{ChannelId: "trade", WriteSet: &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"Orderer": group}}}
	}
	// A value that is written again as it is needs signatures although nothing differs.
	again := proto.Clone(groups["Orderer"].Values["BatchSize"]).(*common.ConfigValue)
	again.Version = 1
	update := orderer(&common.ConfigGroup{Values: map[string]*common.ConfigValue{"BatchSize": again}})
	update.ReadSet = &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"Orderer": {}}}
	changes, err := Changes(base, update)
	if err != nil || len(changes) != 1 || changes[0].Words != "value /Channel/Orderer/BatchSize written again, nothing in it differs" || changes[0].ModPolicy != ordererAdmins {
		t.Errorf("written again: %+v, %v", changes, err)
	}
	// What is written into a group that does not come to hold it has no effect.
	stray := orderer(&common.ConfigGroup{Values: map[string]*common.ConfigValue{"Stray": {ModPolicy: "Admins"}}})
	stray.ReadSet = &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"Orderer": {}}}
	if changes, err = Changes(base, stray); err != nil || len(changes) != 0 {
		t.Errorf("stray: %+v, %v", changes, err)
	}
	if c, err := Apply(base, stray); err != nil || !proto.Equal(c.Proto.ChannelGroup, base.Proto.ChannelGroup) {
		t.Errorf("stray: %v", err)
	}
	// Without a mod_policy nothing can be written.
	again.ModPolicy = ""
	if _, err := Apply(base, update); err == nil || !strings.Contains(err.Error(), "the mod_policy of /Channel/Orderer/BatchSize is empty") {
		t.Errorf("no mod_policy: %v", err)
	}
}

// FuzzUpdate reads what a partner may hand over: it must not panic, whatever it is, and what is read must
// be told in one way.
func FuzzUpdate(f *testing.F) {
	n := newNetwork(f)
	_, base := genesis(f, n.channel())
	for _, s := range steps(f, n) {
		to := base.Clone()
		if err := s.edit(to); err != nil {
			f.Fatal(err)
		}
		update, err := ComputeUpdate(base.Channel, base.Proto, to.Proto)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(mustMarshalUpdate(f, update))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		update, err := ParseUpdate(raw)
		if err != nil {
			return
		}
		changes, errChanges := Changes(base, update)
		requirements, errRequirements := Requirements(base, update)
		after, errApply := Apply(base, update)
		if errApply != nil {
			if errChanges == nil {
				t.Fatal("Changes tells of what cannot be applied")
			}
			return
		}
		if errChanges != nil || errRequirements != nil {
			t.Fatalf("applied, but: %v, %v", errChanges, errRequirements)
		}
		again, _ := Changes(base, update)
		for i := range changes {
			if changes[i] != again[i] {
				t.Fatalf("told in two ways: %+v, %+v", changes[i], again[i])
			}
		}
		for _, r := range requirements {
			_ = r.Met([]Signer{{MSPID: "Org1MSP"}})
			_ = r.Missing(nil)
		}
		_ = ValidateUpdate(base, after)
	})
}

// FuzzSignature reads a signature that a partner may hand over: one that passes is of this update and of no
// other.
func FuzzSignature(f *testing.F) {
	n := newNetwork(f)
	p := population(f, n)
	_, base := genesis(f, n.channel())
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 1}); err != nil {
		f.Fatal(err)
	}
	update := mustMarshalUpdate(f, updateBetween(f, base, to))
	signed, err := SignUpdate(update, p["orderer.admin"])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(marshal(f, signed), string(p["orderer.admin"].CertificatePEM))
	f.Add(marshal(f, signed), "")
	f.Add(marshal(f, signed)[:40], "")
	f.Fuzz(func(t *testing.T, raw []byte, certificatePEM string) {
		signature, err := ParseSignature(raw)
		if err != nil {
			return
		}
		signer, err := VerifySignature(update, signature, certificatePEM)
		if err != nil {
			return
		}
		if _, err := VerifySignature(append(slices.Clone(update), 0), signature, certificatePEM); err == nil {
			t.Fatalf("a signature of %s passes for another update", signer.MSPID)
		}
	})
}
