package configtx

import (
	"bytes"
	"fmt"

	"github.com/hyperledger/fabric-config/protolator"
	"google.golang.org/protobuf/proto"
)

// JSON gives the configuration as configtxlator's "proto_decode --type common.Config" gives it: the
// whole tree with its values, MSPs and policies spelled out, certificates in base64 of their PEM. Equal
// configurations give equal text, whatever the order of their bytes; the text ends with a line break.
func JSON(config *Config) (text []byte, err error) {
	defer func() {
		// protolator is written for what it made itself: it panics on some malformed messages, and
		// what a ledger holds may come from any tool.
		if cause := recover(); cause != nil {
			text, err = nil, fmt.Errorf("unable to write the configuration of %s as JSON: %v", config.Channel, cause)
		}
	}()
	var out bytes.Buffer
	// A copy, because protolator reaches into the messages by reflection.
	if err := protolator.DeepMarshalJSON(&out, proto.Clone(config.Proto)); err != nil {
		return nil, fmt.Errorf("unable to write the configuration of %s as JSON: %w", config.Channel, err)
	}
	return out.Bytes(), nil
}
