package main

import (
	"errors"
	"testing"
)

func TestReadSettings(t *testing.T) {
	tests := map[string]struct {
		environment map[string]string
		want        settings
		wantError   error
	}{
		"least": {
			map[string]string{"CHAINCODE_ID": "kv_1:abc"},
			settings{chaincodeID: "kv_1:abc", address: "0.0.0.0:9999"}, nil,
		},
		"everything": {
			map[string]string{
				"CHAINCODE_ID": "kv_1:abc", "CHAINCODE_SERVER_ADDRESS": "127.0.0.1:7052",
				"CHAINCODE_TLS_KEY": "/key", "CHAINCODE_TLS_CERT": "/cert", "CHAINCODE_CLIENT_CA_CERT": "/ca",
			},
			settings{"kv_1:abc", "127.0.0.1:7052", "/key", "/cert", "/ca"}, nil,
		},
		"no id": {
			map[string]string{"CHAINCODE_SERVER_ADDRESS": "127.0.0.1:7052"}, settings{}, errNoChaincodeID,
		},
		"key without certificate": {
			map[string]string{"CHAINCODE_ID": "kv_1:abc", "CHAINCODE_TLS_KEY": "/key"}, settings{}, errHalfTLS,
		},
		"certificate without key": {
			map[string]string{"CHAINCODE_ID": "kv_1:abc", "CHAINCODE_TLS_CERT": "/cert"}, settings{}, errHalfTLS,
		},
		"client CA without TLS": {
			map[string]string{"CHAINCODE_ID": "kv_1:abc", "CHAINCODE_CLIENT_CA_CERT": "/ca"}, settings{}, errClientCAAlone,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readSettings(func(name string) string { return test.environment[name] })
			if !errors.Is(err, test.wantError) || got != test.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, test.want, test.wantError)
			}
		})
	}
}
