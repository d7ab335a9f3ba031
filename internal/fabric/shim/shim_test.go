package shim

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

type server struct {
	peer.UnimplementedChaincodeServer
	first *peer.ChaincodeMessage
}

func (s server) Connect(stream grpc.BidiStreamingServer[peer.ChaincodeMessage, peer.ChaincodeMessage]) error {
	if s.first != nil {
		if err := stream.Send(s.first); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

func TestRegistration(t *testing.T) {
	id, err := proto.Marshal(&peer.ChaincodeID{Name: "kv_1.0:abc"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		first *peer.ChaincodeMessage
		says  string
	}{
		"registers":       {first: &peer.ChaincodeMessage{Type: peer.ChaincodeMessage_REGISTER, Payload: id}},
		"says else":       {first: &peer.ChaincodeMessage{Type: peer.ChaincodeMessage_READY}, says: "began with READY"},
		"never says":      {says: "unable to learn what the chaincode server serves"},
		"is not a server": {first: &peer.ChaincodeMessage{Type: peer.ChaincodeMessage_REGISTER, Payload: []byte("\xff")}, says: "began with REGISTER"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			serving := grpc.NewServer()
			peer.RegisterChaincodeServer(serving, server{first: c.first})
			go func() { _ = serving.Serve(listener) }()
			defer serving.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			got, err := Registration(ctx, func(ctx context.Context) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
			}, insecure.NewCredentials())
			switch {
			case c.says == "" && (err != nil || got != "kv_1.0:abc"):
				t.Errorf("%q, %v", got, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%q, %v; want an error that says %q", got, err, c.says)
			}
		})
	}
}
