// Oracle has Fabric's own code judge config updates, for TestFabricAgrees. One request per line of
// standard input, one answer per line of standard output, both JSON. Build it with the modules of Fabric:
//
//	cd images/fabric-3.1 && go build -o /tmp/oracle ../../internal/fabric/configtx/testdata/oracle/main.go
//	cd ../.. && FABRIC_ORACLE=/tmp/oracle go test ./internal/fabric/configtx -run TestFabricAgrees
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/hyperledger/fabric-lib-go/bccsp/factory"
	"github.com/hyperledger/fabric-lib-go/common/flogging"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric/common/channelconfig"
	"github.com/hyperledger/fabric/protoutil"
	"google.golang.org/protobuf/proto"
)

// request is a channel with its configuration (common.Config) and a transaction that would update it
// (common.Envelope).
type request struct {
	Channel          string
	Config, Envelope []byte
}

// answer is the configuration after the update, as far as Fabric gets, and why it refuses the update.
type answer struct {
	Config []byte
	Error  string
}

func main() {
	flogging.Init(flogging.Config{LogSpec: "fatal", Writer: os.Stderr})
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	in.Buffer(nil, 1<<26)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			panic(err)
		}
		config, err := judge(r)
		a := answer{Config: config}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
}

// judge does what an ordering node does with a config update before it orders it
// (orderer/common/msgprocessor), but for what needs the node's own state.
func judge(r request) ([]byte, error) {
	config, envelope := &common.Config{}, &common.Envelope{}
	if err := proto.Unmarshal(r.Config, config); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(r.Envelope, envelope); err != nil {
		return nil, err
	}
	bundle, err := channelconfig.NewBundle(r.Channel, config, factory.GetDefault())
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	data, err := protoutil.EnvelopeAsSignedData(envelope)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	writers, ok := bundle.PolicyManager().GetPolicy("/Channel/Writers")
	if !ok {
		return nil, fmt.Errorf("submit: the channel has no writers")
	}
	if err := writers.EvaluateSignedData(data); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	proposed, err := bundle.ConfigtxValidator().ProposeConfigUpdate(envelope)
	if err != nil {
		return nil, err
	}
	out, err := proto.Marshal(proposed.GetConfig())
	if err != nil {
		return nil, err
	}
	next, err := channelconfig.NewBundle(r.Channel, proposed.GetConfig(), factory.GetDefault())
	if err != nil {
		return out, fmt.Errorf("next: %w", err)
	}
	if err := bundle.ValidateNew(next); err != nil {
		return out, fmt.Errorf("next: %w", err)
	}
	return out, nil
}
