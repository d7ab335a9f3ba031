package main

import "errors"

const defaultAddress = "0.0.0.0:9999"

var (
	errNoChaincodeID = errors.New("CHAINCODE_ID is not set: give the package id of the installed chaincode")
	errHalfTLS       = errors.New("CHAINCODE_TLS_KEY and CHAINCODE_TLS_CERT belong together: set both or neither")
	errClientCAAlone = errors.New("CHAINCODE_CLIENT_CA_CERT needs CHAINCODE_TLS_KEY and CHAINCODE_TLS_CERT")
)

// settings are the environment variables that the package comment lists.
type settings struct {
	chaincodeID  string
	address      string
	tlsKeyFile   string
	tlsCertFile  string
	clientCAFile string
}

func readSettings(getenv func(string) string) (settings, error) {
	s := settings{
		chaincodeID:  getenv("CHAINCODE_ID"),
		address:      getenv("CHAINCODE_SERVER_ADDRESS"),
		tlsKeyFile:   getenv("CHAINCODE_TLS_KEY"),
		tlsCertFile:  getenv("CHAINCODE_TLS_CERT"),
		clientCAFile: getenv("CHAINCODE_CLIENT_CA_CERT"),
	}
	if s.address == "" {
		s.address = defaultAddress
	}
	switch {
	case s.chaincodeID == "":
		return settings{}, errNoChaincodeID
	case (s.tlsKeyFile == "") != (s.tlsCertFile == ""):
		return settings{}, errHalfTLS
	case s.clientCAFile != "" && s.tlsKeyFile == "":
		return settings{}, errClientCAAlone
	}
	return s, nil
}
