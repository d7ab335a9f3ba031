package network

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	lifecycleproto "github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// goFolder is a folder of source, and its package as a label.
func goFolder(t *testing.T, label string) (*PackageSource, []byte) {
	t.Helper()
	in := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module example.com/kv\n", "main.go": "package main\n"} {
		if err := os.WriteFile(filepath.Join(in, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := &PackageSource{Type: lifecycle.TypeGolang, Path: in}
	packed, _, err := source.read(label)
	if err != nil {
		t.Fatal(err)
	}
	return source, packed
}

func TestPackageSource(t *testing.T) {
	folder, packed := goFolder(t, "kv_1")
	file := filepath.Join(t.TempDir(), "kv.tar.gz")
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	want := lifecycle.PackageID("kv_1", packed)
	for name, source := range map[string]*PackageSource{"folder": folder, "archive": {Archive: file}} {
		described, err := source.Describe("kv_1")
		if err != nil || described.ID != want || described.Label != "kv_1" || described.Type != lifecycle.TypeGolang {
			t.Errorf("%s: it is described as %+v, %v", name, described, err)
		}
		spec := ChaincodeSpec{Name: "kv", Label: "kv_1", Package: source, PackageID: want}
		content, id, packageType, err := spec.packed()
		if err != nil || !bytes.Equal(content, packed) || id != want || packageType != lifecycle.TypeGolang {
			t.Errorf("%s: it has the package ID %s, type %s, %v", name, id, packageType, err)
		}
		changed := new(PackageChangedError)
		spec.PackageID = "kv_1:0"
		if _, _, _, err := spec.packed(); !errors.As(err, &changed) || changed.Found != want {
			t.Errorf("%s: what the plan did not know gives %v", name, err)
		}
		if _, err := spec.Pack(); !errors.As(err, &changed) {
			t.Errorf("%s: what the plan did not know gives %v", name, err)
		}
	}
	if err := os.WriteFile(file, packed[:len(packed)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]*PackageSource{"damaged": {Archive: file}, "folder": {Archive: t.TempDir()}, "none": {Archive: file + "x"}} {
		if _, err := source.Describe(""); err == nil {
			t.Errorf("%s: it is described", name)
		}
		if _, _, err := source.read(""); err == nil {
			t.Errorf("%s: it is read", name)
		}
	}
}

// TestChaincodeRecord: a chaincode without servers is found, by one record, and goes with it.
func TestChaincodeRecord(t *testing.T) {
	s := newSketch(t)
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Label: "kv_1", Type: lifecycle.TypeGolang}
	for _, id := range []string{"kv_1:aa", "kv_1:bb", "kv_1:bb"} {
		s.must(s.fabric.recordChaincode(t.Context(), spec, "kv:1", id))
		records, err := s.fabric.serversOn(t.Context(), s.channel)
		if err != nil || len(records) != 1 || records[0].Labels[labelPackage] != id || isNode(records[0]) || records[0].Status != engine.Created {
			t.Errorf("the records are %+v, %v", records, err)
		}
	}
	h := ChaincodeHandle(s.channel, "kv")
	listed, err := s.fabric.List(t.Context(), KindChaincode, Filter{})
	if err != nil || !slices.Equal(listed, []Handle{h}) {
		t.Errorf("listed are %v, %v", listed, err)
	}
	found, err := s.fabric.FindChaincode(t.Context(), h.Network, "trade", "kv")
	if err != nil || found.served() || found.Channel != s.channel || found.Label != "kv_1" || found.Server.ImageID != "" {
		t.Errorf("found is %+v, %v", found, err)
	}
	s.must(s.fabric.DeleteChaincode(t.Context(), h))
	if left, err := s.fabric.serversOn(t.Context(), s.channel); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestInstallMissingOfGivenPackages: what cannot be made again comes from a peer that has it.
func TestInstallMissingOfGivenPackages(t *testing.T) {
	s := newSketch(t)
	_, packed := goFolder(t, "kv_1")
	id := lifecycle.PackageID("kv_1", packed)
	var mu sync.Mutex
	holds, calls := map[string][]byte{"peer1.org1": packed}, []string{}
	for _, name := range []string{"peer0.org1", "peer1.org1"} {
		s.serve(s.peer(name, "Org1MSP"), peerPort, func(g *grpc.Server) {
			peer.RegisterEndorserServer(g, &endorserFunc{answer: func(args []string, _ bool) *peer.ProposalResponse {
				mu.Lock()
				defer mu.Unlock()
				var answer proto.Message
				switch held := holds[name]; {
				case args[0] == "QueryInstalledChaincodes" && held == nil:
					answer = &lifecycleproto.QueryInstalledChaincodesResult{}
				case args[0] == "QueryInstalledChaincodes":
					answer = &lifecycleproto.QueryInstalledChaincodesResult{InstalledChaincodes: []*lifecycleproto.QueryInstalledChaincodesResult_InstalledChaincode{{PackageId: id, Label: "kv_1"}}}
				case args[0] == "GetInstalledChaincodePackage" && held != nil:
					answer = &lifecycleproto.GetInstalledChaincodePackageResult{ChaincodeInstallPackage: held}
				case args[0] == "InstallChaincode":
					request := &lifecycleproto.InstallChaincodeArgs{}
					s.must(proto.Unmarshal([]byte(args[1]), request))
					holds[name] = request.GetChaincodeInstallPackage()
					calls = append(calls, name)
					answer = &lifecycleproto.InstallChaincodeResult{PackageId: id, Label: "kv_1"}
				default:
					return refusal("")
				}
				raw, err := proto.Marshal(answer)
				s.must(err)
				return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: raw}}
			}})
		})
	}
	s.must(s.fabric.recordChaincode(t.Context(), ChaincodeSpec{Channel: s.channel, Name: "kv", Label: "kv_1", Type: lifecycle.TypeGolang}, "kv:1", id))
	for range 2 { // the second time there is nothing to do
		s.must(s.fabric.installMissing(t.Context(), s.peer("peer0.org1", "Org1MSP")))
	}
	if strings.Join(calls, " ") != "peer0.org1" || !bytes.Equal(holds["peer0.org1"], packed) {
		t.Errorf("installed was on %v", calls)
	}
	// What another peer gives is looked at.
	holds["peer1.org1"], holds["peer0.org1"] = packed[:len(packed)-3], nil
	s.must(s.fabric.installMissing(t.Context(), s.peer("peer0.org1", "Org1MSP")))
	if len(calls) != 1 {
		t.Error("a damaged package of another peer was installed")
	}
}
