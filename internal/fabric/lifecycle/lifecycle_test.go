package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
)

// fakePeer holds what a peer of one organization knows; texts of refusals are its own, so that no
// test passes because of Fabric's.
type fakePeer struct {
	peer.UnimplementedEndorserServer
	t testing.TB

	// forbidden are functions that the identity may not call.
	forbidden []string
	// broken makes builds fail.
	broken bool
	// old leaves out what came with Fabric 3.1.
	old bool
	// height makes endorsements of peers differ.
	height string
	// mspID is the organization.
	mspID     string
	installed map[string][]byte
	committed map[string]*lifecycle.QueryChaincodeDefinitionResult
	// approved are the organization's approvals by name and sequence.
	approved map[string]map[int64]*lifecycle.ApproveChaincodeDefinitionForMyOrgArgs
	// seen are the approvals of all organizations.
	seen map[string]bool
	// last are the arguments of the last change.
	last proto.Message
}

func (f *fakePeer) serve(name string) endorser.Peer {
	return endorser.Peer{Name: name, Conn: grpctest.Serve(f.t, func(s *grpc.Server) { peer.RegisterEndorserServer(s, f) })}
}

func (f *fakePeer) ProcessProposal(_ context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	proposal, header, channelHeader := &peer.Proposal{}, &common.Header{}, &common.ChannelHeader{}
	payload, invocation := &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	for _, step := range []func() error{
		func() error { return proto.Unmarshal(signed.GetProposalBytes(), proposal) },
		func() error { return proto.Unmarshal(proposal.GetHeader(), header) },
		func() error { return proto.Unmarshal(header.GetChannelHeader(), channelHeader) },
		func() error { return proto.Unmarshal(proposal.GetPayload(), payload) },
		func() error { return proto.Unmarshal(payload.GetInput(), invocation) },
	} {
		if err := step(); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	args := invocation.GetChaincodeSpec().GetInput().GetArgs()
	function := string(args[0])
	if invocation.GetChaincodeSpec().GetChaincodeId().GetName() != "_lifecycle" || len(args) != 2 {
		return nil, status.Error(codes.InvalidArgument, "not a call of the lifecycle")
	}
	onPeer := slices.Contains([]string{"InstallChaincode", "QueryInstalledChaincodes", "GetInstalledChaincodePackage"}, function)
	if onPeer != (channelHeader.GetChannelId() == "") {
		return nil, status.Error(codes.InvalidArgument, function+" on channel "+channelHeader.GetChannelId())
	}
	result, refused := f.call(function, args[1])
	if refused != "" {
		return &peer.ProposalResponse{Response: &peer.Response{Status: 500, Message: refused}}, nil
	}
	marshalled, err := proto.Marshal(result)
	if err != nil {
		return nil, err
	}
	return &peer.ProposalResponse{
		Response: &peer.Response{Status: 200, Payload: marshalled}, Payload: []byte("result at height " + f.height),
		Endorsement: &peer.Endorsement{Endorser: []byte(f.mspID)},
	}, nil
}

func (f *fakePeer) call(function string, raw []byte) (proto.Message, string) {
	if slices.Contains(f.forbidden, function) {
		return nil, "you may not"
	}
	read := func(into proto.Message) {
		if err := proto.Unmarshal(raw, into); err != nil {
			f.t.Error(err)
		}
	}
	switch function {
	case "InstallChaincode":
		args := &lifecycle.InstallChaincodeArgs{}
		read(args)
		info, err := ParsePackage(args.GetChaincodeInstallPackage())
		if err != nil || f.broken {
			return nil, "cannot build"
		}
		if _, exists := f.installed[info.ID]; exists {
			return nil, "have it"
		}
		f.installed[info.ID] = args.GetChaincodeInstallPackage()
		return &lifecycle.InstallChaincodeResult{PackageId: info.ID, Label: info.Label}, ""
	case "QueryInstalledChaincodes":
		result := &lifecycle.QueryInstalledChaincodesResult{}
		for id := range f.installed {
			label, _, _ := strings.Cut(id, ":")
			result.InstalledChaincodes = append(result.InstalledChaincodes, &lifecycle.QueryInstalledChaincodesResult_InstalledChaincode{
				PackageId: id, Label: label, References: map[string]*lifecycle.QueryInstalledChaincodesResult_References{
					"trade": {Chaincodes: []*lifecycle.QueryInstalledChaincodesResult_Chaincode{{Name: "b", Version: "2"}, {Name: "a", Version: "1"}}},
				},
			})
		}
		return result, ""
	case "GetInstalledChaincodePackage":
		args := &lifecycle.GetInstalledChaincodePackageArgs{}
		read(args)
		packed, exists := f.installed[args.GetPackageId()]
		if !exists {
			return nil, "have it not"
		}
		return &lifecycle.GetInstalledChaincodePackageResult{ChaincodeInstallPackage: packed}, ""
	case "ApproveChaincodeDefinitionForMyOrg":
		args := &lifecycle.ApproveChaincodeDefinitionForMyOrgArgs{}
		read(args)
		current := f.committed[args.GetName()].GetSequence()
		if args.GetSequence() != current && args.GetSequence() != current+1 || f.approved[args.GetName()][args.GetSequence()] != nil {
			return nil, "will not approve"
		}
		f.last = args
		return &lifecycle.ApproveChaincodeDefinitionForMyOrgResult{}, ""
	case "QueryApprovedChaincodeDefinition":
		args := &lifecycle.QueryApprovedChaincodeDefinitionArgs{}
		read(args)
		for sequence, approval := range f.approved[args.GetName()] {
			if args.GetSequence() == 0 || args.GetSequence() == sequence {
				return &lifecycle.QueryApprovedChaincodeDefinitionResult{
					Sequence: sequence, Version: approval.GetVersion(), Source: approval.GetSource(), InitRequired: approval.GetInitRequired(),
					EndorsementPlugin: "escc", ValidationPlugin: "vscc", ValidationParameter: approval.GetValidationParameter(), Collections: approval.GetCollections(),
				}, ""
			}
		}
		return nil, "none"
	case "QueryApprovedChaincodeDefinitions":
		if f.old {
			return nil, "unknown function"
		}
		result := &lifecycle.QueryApprovedChaincodeDefinitionsResult{}
		for name, approvals := range f.approved {
			for sequence := range approvals {
				result.ApprovedChaincodeDefinitions = append(result.ApprovedChaincodeDefinitions,
					&lifecycle.QueryApprovedChaincodeDefinitionsResult_ApprovedChaincodeDefinition{Name: name, Sequence: sequence})
			}
		}
		return result, ""
	case "CheckCommitReadiness":
		args := &lifecycle.CheckCommitReadinessArgs{}
		read(args)
		if args.GetSequence() != f.committed[args.GetName()].GetSequence()+1 {
			return nil, "no"
		}
		return &lifecycle.CheckCommitReadinessResult{Approvals: f.seen, Mismatches: map[string]*lifecycle.CheckCommitReadinessResult_Mismatches{
			"Org2MSP": {Items: []string{"ChaincodeParameters"}}, "Org3MSP": {Items: []string{"ValidationInfo"}},
		}}, ""
	case "CommitChaincodeDefinition":
		args := &lifecycle.CommitChaincodeDefinitionArgs{}
		read(args)
		if args.GetSequence() != f.committed[args.GetName()].GetSequence()+1 || !f.seen[f.mspID] {
			return nil, "will not commit"
		}
		f.last = args
		return &lifecycle.CommitChaincodeDefinitionResult{}, ""
	case "QueryChaincodeDefinition":
		args := &lifecycle.QueryChaincodeDefinitionArgs{}
		read(args)
		if found, exists := f.committed[args.GetName()]; exists {
			return found, ""
		}
		return nil, "none"
	case "QueryChaincodeDefinitions":
		result := &lifecycle.QueryChaincodeDefinitionsResult{}
		for name, d := range f.committed {
			result.ChaincodeDefinitions = append(result.ChaincodeDefinitions, &lifecycle.QueryChaincodeDefinitionsResult_ChaincodeDefinition{
				Name: name, Sequence: d.GetSequence(), Version: d.GetVersion(),
			})
		}
		return result, ""
	}
	return nil, "unknown function"
}

func newPeer(t testing.TB, change ...func(*fakePeer)) *fakePeer {
	f := &fakePeer{
		t: t, mspID: "Org1MSP", installed: map[string][]byte{}, committed: map[string]*lifecycle.QueryChaincodeDefinitionResult{},
		approved: map[string]map[int64]*lifecycle.ApproveChaincodeDefinitionForMyOrgArgs{}, seen: map[string]bool{},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

// committedAt is a peer whose channel has the definition of definition(), at the sequence.
func committedAt(sequence int64) func(*fakePeer) {
	return func(f *fakePeer) {
		f.committed["asset"] = &lifecycle.QueryChaincodeDefinitionResult{
			Sequence: sequence, Version: "1.0", EndorsementPlugin: "escc", ValidationPlugin: "vscc",
			ValidationParameter: parameter(f.t, "/Channel/Application/Endorsement"), Approvals: map[string]bool{"Org1MSP": true},
		}
	}
}

// approvedAt is a peer whose organization approved definition() at the sequence with package "p".
func approvedAt(sequence int64) func(*fakePeer) {
	return func(f *fakePeer) {
		f.approved["asset"] = map[int64]*lifecycle.ApproveChaincodeDefinitionForMyOrgArgs{sequence: {
			Version: "1.0", ValidationParameter: parameter(f.t, "/Channel/Application/Endorsement"),
			Source: &lifecycle.ChaincodeSource{Type: &lifecycle.ChaincodeSource_LocalPackage{LocalPackage: &lifecycle.ChaincodeSource_Local{PackageId: "p"}}},
		}}
	}
}

func TestInstall(t *testing.T) {
	identity := grpctest.Identity(t)
	packed, err := Package(request)
	if err != nil {
		t.Fatal(err)
	}
	f := newPeer(t)
	target := f.serve("peer0")
	for round := range 2 {
		if id, err := Install(t.Context(), target, identity, packed); err != nil || id != goldenID {
			t.Errorf("install %d: %s, %v", round+1, id, err)
		}
	}
	held, err := GetInstalled(t.Context(), target, identity, goldenID)
	if err != nil || !bytes.Equal(held, packed) {
		t.Errorf("GetInstalled: %v", err)
	}
	list, err := QueryInstalled(t.Context(), target, identity)
	if err != nil || len(list) != 1 || list[0].PackageID != goldenID || list[0].Label != "asset_1.0" ||
		!slices.Equal(list[0].References["trade"], []Reference{{"a", "1"}, {"b", "2"}}) {
		t.Errorf("QueryInstalled: %v, %v", list, err)
	}
	if _, err := GetInstalled(t.Context(), target, identity, "other:1"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("a package that is not there: %v", err)
	}
	// What the peer holds under the ID is not what it was given.
	f.installed[goldenID] = []byte("something else")
	if _, err := Install(t.Context(), target, identity, packed); err == nil || ClassOf(err) != ClassPermanent {
		t.Errorf("another package of this ID: class %s, %v", ClassOf(err), err)
	}
}

func TestInstallFails(t *testing.T) {
	identity := grpctest.Identity(t)
	packed, err := Package(request)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*fakePeer)
		packed []byte
		want   Class
	}{
		"no package":         {func(*fakePeer) {}, []byte("junk"), ClassUserError},
		"the peer's builder": {func(f *fakePeer) { f.broken = true }, packed, ClassNodeFault},
		"no admin": {func(f *fakePeer) {
			f.forbidden = []string{"InstallChaincode", "GetInstalledChaincodePackage", "QueryInstalledChaincodes"}
		}, packed, ClassPermanent},
	} {
		if _, err := Install(t.Context(), newPeer(t, test.change).serve("peer0"), identity, test.packed); ClassOf(err) != test.want {
			t.Errorf("%s: class %s, %v", name, ClassOf(err), err)
		}
	}
	hidden := newPeer(t, func(f *fakePeer) { f.forbidden = []string{"QueryInstalledChaincodes"} }).serve("peer0")
	if _, err := GetInstalled(t.Context(), hidden, identity, "x:1"); err == nil || errors.Is(err, ErrNotInstalled) {
		t.Errorf("with the list hidden: %v", err)
	}
}

func TestUnreachablePeerIsTransient(t *testing.T) {
	away := endorser.Peer{Name: "peer0", Conn: grpctest.Serve(t, func(*grpc.Server) {})}
	_, err := QueryInstalled(t.Context(), away, grpctest.Identity(t))
	if ClassOf(err) != ClassPermanent {
		t.Errorf("a server that is no peer: class %s, %v", ClassOf(err), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if _, err = QueryAllCommitted(ctx, away, grpctest.Identity(t), "trade"); ClassOf(err) != ClassTransient {
		t.Errorf("a peer that does not answer: class %s, %v", ClassOf(err), err)
	}
}

func TestApprove(t *testing.T) {
	identity := grpctest.Identity(t)
	f := newPeer(t)
	d := definition(func(d *Definition) {
		d.InitRequired, d.ValidationParameter, d.Collections = true, parameter(t, "OR('Org1MSP.peer')"), collections(collection("a"))
	})
	transaction, err := Approve(t.Context(), identity, "trade", d, "asset:1", f.serve("peer0"), newPeer(t).serve("peer1"))
	if err != nil || transaction.Channel != "trade" || transaction.TxID == "" {
		t.Fatalf("%v, %v", transaction, err)
	}
	args := f.last.(*lifecycle.ApproveChaincodeDefinitionForMyOrgArgs)
	if args.GetName() != "asset" || args.GetVersion() != "1.0" || args.GetSequence() != 1 || !args.GetInitRequired() ||
		!bytes.Equal(args.GetValidationParameter(), d.ValidationParameter) || !proto.Equal(args.GetCollections(), d.Collections) ||
		args.GetSource().GetLocalPackage().GetPackageId() != "asset:1" {
		t.Errorf("approved %v", args)
	}
	if _, err := Approve(t.Context(), identity, "trade", d, "", f.serve("peer0")); err != nil {
		t.Fatal(err)
	}
	if source := f.last.(*lifecycle.ApproveChaincodeDefinitionForMyOrgArgs).GetSource(); source.GetUnavailable() == nil {
		t.Errorf("without a package the source is %v", source)
	}
}

func TestApproveRefused(t *testing.T) {
	identity := grpctest.Identity(t)
	for name, test := range map[string]struct {
		change     []func(*fakePeer)
		definition Definition
		packageID  string
		want       Class
	}{
		"approved so":                   {[]func(*fakePeer){approvedAt(1)}, definition(), "p", ClassAlreadyDone},
		"approved with another package": {[]func(*fakePeer){approvedAt(1)}, definition(), "q", ClassPermanent},
		"approved otherwise":            {[]func(*fakePeer){approvedAt(1)}, definition(func(d *Definition) { d.Version = "2" }), "p", ClassPermanent},
		"sequence of the future":        {nil, definition(func(d *Definition) { d.Sequence = 2 }), "p", ClassOutOfStep},
		"sequence of the past":          {[]func(*fakePeer){committedAt(3)}, definition(), "p", ClassOutOfStep},
		"committed otherwise": {[]func(*fakePeer){committedAt(1), func(f *fakePeer) { f.forbidden = []string{"ApproveChaincodeDefinitionForMyOrg"} }},
			definition(func(d *Definition) { d.Version = "2" }), "p", ClassOutOfStep},
		"committed so, but forbidden": {[]func(*fakePeer){committedAt(1), func(f *fakePeer) { f.forbidden = []string{"ApproveChaincodeDefinitionForMyOrg"} }},
			definition(), "p", ClassPermanent},
		"not a definition": {nil, definition(func(d *Definition) { d.Name = "" }), "p", ClassUserError},
	} {
		_, err := Approve(t.Context(), identity, "trade", test.definition, test.packageID, newPeer(t, test.change...).serve("peer0"))
		if ClassOf(err) != test.want {
			t.Errorf("%s: class %s, %v", name, ClassOf(err), err)
		}
	}
	if _, err := Approve(t.Context(), identity, "trade", definition(), "p"); err == nil {
		t.Error("approved by no peer")
	}
}

func TestPeersAtDifferentHeights(t *testing.T) {
	behind := newPeer(t, func(f *fakePeer) { f.height = "7" })
	_, err := Approve(t.Context(), grpctest.Identity(t), "trade", definition(), "p", newPeer(t).serve("peer0"), behind.serve("peer1"))
	if ClassOf(err) != ClassTransient || !strings.Contains(err.Error(), "peer1") {
		t.Errorf("class %s, %v", ClassOf(err), err)
	}
}

func TestQueryApproved(t *testing.T) {
	identity := grpctest.Identity(t)
	for _, old := range []bool{false, true} {
		f := newPeer(t, approvedAt(2), func(f *fakePeer) { f.old = old })
		target := f.serve("peer0")
		for _, sequence := range []int64{0, 2} {
			got, err := QueryApproved(t.Context(), target, identity, "trade", "asset", sequence)
			if err != nil || got.PackageID != "p" || len(got.Diff(definition(func(d *Definition) { d.Sequence = 2 }))) > 0 {
				t.Errorf("sequence %d: %+v, %v", sequence, got, err)
			}
		}
		for name, sequence := range map[string]int64{"asset": 1, "other": 0} {
			if _, err := QueryApproved(t.Context(), target, identity, "trade", name, sequence); !errors.Is(err, ErrNotApproved) {
				t.Errorf("%s at %d: %v", name, sequence, err)
			}
		}
		f.forbidden = []string{"QueryApprovedChaincodeDefinition", "QueryApprovedChaincodeDefinitions", "QueryChaincodeDefinitions"}
		if _, err := QueryApproved(t.Context(), target, identity, "trade", "asset", 2); err == nil || errors.Is(err, ErrNotApproved) {
			t.Errorf("where it is forbidden: %v", err)
		}
	}
	// A list that has it means that the refusal was for another reason.
	f := newPeer(t, approvedAt(2), func(f *fakePeer) { f.forbidden = []string{"QueryApprovedChaincodeDefinition"} })
	if _, err := QueryApproved(t.Context(), f.serve("peer0"), identity, "trade", "asset", 2); err == nil || errors.Is(err, ErrNotApproved) {
		t.Errorf("listed, but refused: %v", err)
	}
}

func TestCheckCommitReadiness(t *testing.T) {
	identity := grpctest.Identity(t)
	seen := map[string]bool{"Org1MSP": true, "Org2MSP": false, "Org3MSP": false}
	target := newPeer(t, func(f *fakePeer) { f.seen = seen }).serve("peer0")
	got, err := CheckCommitReadiness(t.Context(), target, identity, "trade", definition())
	if err != nil || len(got.Approvals) != 3 || !got.Approvals["Org1MSP"] || got.Approvals["Org2MSP"] {
		t.Errorf("%+v, %v", got, err)
	}
	if len(got.Mismatches) != 1 || !slices.Equal(got.Mismatches["Org3MSP"], []string{"ValidationInfo"}) {
		t.Errorf("an organization without any approval does not mismatch in a field: %v", got.Mismatches)
	}
	for name, test := range map[string]struct {
		change     []func(*fakePeer)
		definition Definition
		want       Class
	}{
		"committed so":        {[]func(*fakePeer){committedAt(1)}, definition(), ClassAlreadyDone},
		"committed otherwise": {[]func(*fakePeer){committedAt(1)}, definition(func(d *Definition) { d.Version = "2" }), ClassOutOfStep},
		"sequence skipped":    {nil, definition(func(d *Definition) { d.Sequence = 3 }), ClassOutOfStep},
		"forbidden":           {[]func(*fakePeer){func(f *fakePeer) { f.forbidden = []string{"CheckCommitReadiness"} }}, definition(), ClassPermanent},
		"not a definition":    {nil, Definition{}, ClassUserError},
	} {
		_, err := CheckCommitReadiness(t.Context(), newPeer(t, test.change...).serve("peer0"), identity, "trade", test.definition)
		if ClassOf(err) != test.want {
			t.Errorf("%s: class %s, %v", name, ClassOf(err), err)
		}
	}
}

func TestCommit(t *testing.T) {
	identity := grpctest.Identity(t)
	f := newPeer(t, func(f *fakePeer) { f.seen = map[string]bool{"Org1MSP": true} })
	d := definition(func(d *Definition) { d.ValidationParameter = parameter(t, "OR('Org1MSP.peer')") })
	transaction, err := Commit(t.Context(), identity, "trade", d, f.serve("peer0"))
	if err != nil || transaction.Channel != "trade" {
		t.Fatalf("%v, %v", transaction, err)
	}
	if args := f.last.(*lifecycle.CommitChaincodeDefinitionArgs); args.GetName() != "asset" || args.GetSequence() != 1 || !bytes.Equal(args.GetValidationParameter(), d.ValidationParameter) {
		t.Errorf("committed %v", args)
	}
}

func TestCommitRefused(t *testing.T) {
	identity := grpctest.Identity(t)
	seen := func(approvals map[string]bool) func(*fakePeer) { return func(f *fakePeer) { f.seen = approvals } }
	for name, test := range map[string]struct {
		change     []func(*fakePeer)
		definition Definition
		want       Class
		text       string
	}{
		"committed so":        {[]func(*fakePeer){committedAt(1)}, definition(), ClassAlreadyDone, ""},
		"committed otherwise": {[]func(*fakePeer){committedAt(1)}, definition(func(d *Definition) { d.Version = "2" }), ClassOutOfStep, "version: 1.0 -> 2"},
		"sequence skipped":    {[]func(*fakePeer){committedAt(1)}, definition(func(d *Definition) { d.Sequence = 3 }), ClassOutOfStep, "the next is 2, not 3"},
		"not approved": {[]func(*fakePeer){seen(map[string]bool{"Org1MSP": false, "Org2MSP": true, "Org3MSP": false})}, definition(),
			ClassWaitForOthers, "Org1MSP (seen by peer0), Org3MSP (seen by peer0, approved with another ValidationInfo)"},
		"forbidden": {[]func(*fakePeer){seen(map[string]bool{"Org1MSP": true}), func(f *fakePeer) { f.forbidden = []string{"CommitChaincodeDefinition"} }},
			definition(), ClassPermanent, ""},
		"not a definition": {nil, Definition{}, ClassUserError, "chaincode name"},
	} {
		_, err := Commit(t.Context(), identity, "trade", test.definition, newPeer(t, test.change...).serve("peer0"))
		if ClassOf(err) != test.want || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: class %s, %v", name, ClassOf(err), err)
		}
	}
}

func TestQueryCommitted(t *testing.T) {
	identity := grpctest.Identity(t)
	f := newPeer(t, committedAt(2))
	target := f.serve("peer0")
	got, err := QueryCommitted(t.Context(), target, identity, "trade", "asset")
	if err != nil || len(got.Diff(definition(func(d *Definition) { d.Sequence = 2 }))) > 0 || !got.Approvals["Org1MSP"] {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := QueryCommitted(t.Context(), target, identity, "trade", "other"); !errors.Is(err, ErrNotCommitted) {
		t.Errorf("one that is not there: %v", err)
	}
	f.committed["aaa"] = &lifecycle.QueryChaincodeDefinitionResult{Sequence: 1, Version: "1"}
	list, err := QueryAllCommitted(t.Context(), target, identity, "trade")
	if err != nil || len(list) != 2 || list[0].Name != "aaa" || list[1].Sequence != 2 {
		t.Errorf("QueryAllCommitted: %v, %v", list, err)
	}
	for _, forbidden := range [][]string{{"QueryChaincodeDefinition"}, {"QueryChaincodeDefinition", "QueryChaincodeDefinitions"}} {
		f.forbidden = forbidden
		if _, err := QueryCommitted(t.Context(), target, identity, "trade", "asset"); err == nil || errors.Is(err, ErrNotCommitted) {
			t.Errorf("with %v forbidden: %v", forbidden, err)
		}
	}
}

func TestClassOf(t *testing.T) {
	for want, err := range map[Class]error{
		"":                 nil,
		ClassPermanent:     errors.New("what"),
		ClassTransient:     status.Error(codes.Unavailable, "away"),
		ClassOutOfStep:     &Error{ClassOutOfStep, errors.New("x")},
		ClassAlreadyDone:   errors.Join(&Error{ClassAlreadyDone, errors.New("x")}),
		ClassWaitForOthers: &Error{ClassWaitForOthers, errors.New("x")},
	} {
		if got := ClassOf(err); got != want {
			t.Errorf("%v: class %s, want %s", err, got, want)
		}
	}
	if !(&Error{Class: ClassWaitForOthers}).Transient() || (&Error{Class: ClassOutOfStep}).Transient() {
		t.Error("what others will do passes by itself, another ledger does not")
	}
}
