package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// TestProxyHandsOnAndNotes calls a server that answers with what it was sent through the proxy.
func TestProxyHandsOnAndNotes(t *testing.T) {
	folder := t.TempDir()
	provider := filepath.Join(folder, "provider.sock")
	serveEcho(t, provider)
	reattach := `{"registry.example.com/fabricops/fabric":{"Protocol":"grpc","ProtocolVersion":6,"Pid":42,"Test":true,"Addr":{"Network":"unix","String":"` + provider + `"}}}`
	socket := filepath.Join(folder, "proxy.sock")
	p, told, err := newProxy(reattach, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()

	var entries map[string]reattachment
	if err := json.Unmarshal([]byte(told), &entries); err != nil {
		t.Fatal(err)
	}
	if e := entries["registry.example.com/fabricops/fabric"]; e.Addr.String != socket || e.Pid != 42 || e.ProtocolVersion != 6 || !e.Test {
		t.Errorf("Terraform is told %+v", e)
	}

	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "fabric_peer")
	for _, method := range []string{"/tfplugin6.Provider/ReadResource", "/tfplugin6.Provider/GetProviderSchema", "/plugin.GRPCController/Shutdown"} {
		var answer []byte
		if err := conn.Invoke(t.Context(), method, &request, &answer); err != nil {
			t.Fatal(err)
		}
		if string(answer) != string(request) {
			t.Errorf("%s: got %q, want %q", method, answer, request)
		}
	}
	refused := []byte("refuse")
	if err := conn.Invoke(t.Context(), "/tfplugin6.Provider/ApplyResourceChange", &refused, new([]byte)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a refusal came through as %v", err)
	}

	calls := p.taken()
	if len(calls) != 3 {
		t.Fatalf("noted %+v, want the three calls of the provider's own service", calls)
	}
	if calls[0].Method != "ReadResource" || calls[0].Type != "fabric_peer" || calls[1].Method != "GetProviderSchema" || calls[1].Type != "" {
		t.Errorf("noted %+v", calls)
	}
	for _, c := range calls {
		if c.End < c.Begin || c.Begin <= 0 {
			t.Errorf("%s lasted from %v to %v", c.Method, c.Begin, c.End)
		}
	}
}

func serveEcho(t *testing.T, socket string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			var message []byte
			if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if string(message) == "refuse" {
				return status.Error(codes.PermissionDenied, "no")
			}
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
}

func TestNewProxyRefusesWhatNamesNoProvider(t *testing.T) {
	for _, reattach := range []string{"", "{}", "no json"} {
		if _, _, err := newProxy(reattach, filepath.Join(t.TempDir(), "s")); err == nil {
			t.Errorf("%q was accepted", reattach)
		}
	}
}
