package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// transientValue is the name under which putPrivate finds its value in the
// transient map, so that the value is in no transaction.
const transientValue = "value"

// errEmptyValue refuses what the ledger cannot keep: it takes a write of no
// bytes for a deletion.
var errEmptyValue = errors.New("the value is empty")

// keyValue is the chaincode. Its functions, all arguments being strings:
//
//	put KEY VALUE               stores VALUE; returns it
//	get KEY                     returns the value; an error when there is none
//	delete KEY                  removes the key, also one that is not there
//	list [PREFIX]               JSON object of the keys that begin with PREFIX
//	version                     version of this program
//	putPrivate COLLECTION KEY   stores the transient value "value"; returns nothing
//	getPrivate COLLECTION KEY   returns the value; an error when there is none
type keyValue struct {
	functions map[string]function
}

// function is a chaincode function and the number of arguments it takes.
type function struct {
	least, most int
	call        func(stub shim.ChaincodeStubInterface, args []string) ([]byte, error)
}

// newKeyValue returns the chaincode; version is what its function of that
// name answers.
func newKeyValue(version string) *keyValue {
	return &keyValue{functions: map[string]function{
		"put":        {2, 2, put},
		"get":        {1, 1, get},
		"delete":     {1, 1, remove},
		"list":       {0, 1, list},
		"putPrivate": {2, 2, putPrivate},
		"getPrivate": {2, 2, getPrivate},
		"version": {0, 0, func(shim.ChaincodeStubInterface, []string) ([]byte, error) {
			return []byte(version), nil
		}},
	}}
}

// Init does nothing: the chaincode needs no first state.
func (c *keyValue) Init(shim.ChaincodeStubInterface) *peer.Response {
	return shim.Success(nil)
}

// Invoke runs the function that the transaction names first.
func (c *keyValue) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	name, args := stub.GetFunctionAndParameters()
	f, known := c.functions[name]
	if !known {
		return shim.Error(fmt.Sprintf("unknown function %q", name))
	}
	if len(args) < f.least || len(args) > f.most {
		return shim.Error(fmt.Sprintf("%s: wrong number of arguments: %d", name, len(args)))
	}
	payload, err := f.call(stub, args)
	if err != nil {
		return shim.Error(fmt.Sprintf("%s: %v", name, err))
	}
	return shim.Success(payload)
}

func put(stub shim.ChaincodeStubInterface, args []string) ([]byte, error) {
	value := []byte(args[1])
	if len(value) == 0 {
		return nil, errEmptyValue
	}
	return value, stub.PutState(args[0], value)
}

func get(stub shim.ChaincodeStubInterface, args []string) ([]byte, error) {
	value, err := stub.GetState(args[0])
	return present(args[0], value, err)
}

func remove(stub shim.ChaincodeStubInterface, args []string) ([]byte, error) {
	return nil, stub.DelState(args[0])
}

// list answers with the keys in order, so that every endorser gives the same
// bytes. The peer's limit of a range query (ledger.state.totalQueryLimit,
// 100000 keys) holds.
func list(stub shim.ChaincodeStubInterface, args []string) (payload []byte, err error) {
	var from, to string
	if len(args) == 1 && args[0] != "" {
		from, to = args[0], args[0]+string(utf8.MaxRune)
	}
	entries, err := stub.GetStateByRange(from, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	found := map[string]string{}
	for entries.HasNext() {
		entry, err := entries.Next()
		if err != nil {
			return nil, err
		}
		found[entry.GetKey()] = string(entry.GetValue())
	}
	return json.Marshal(found)
}

func putPrivate(stub shim.ChaincodeStubInterface, args []string) ([]byte, error) {
	transient, err := stub.GetTransient()
	if err != nil {
		return nil, err
	}
	value, given := transient[transientValue]
	if !given {
		return nil, fmt.Errorf("the transient map has no %q", transientValue)
	}
	if len(value) == 0 {
		return nil, errEmptyValue
	}
	return nil, stub.PutPrivateData(args[0], args[1], value)
}

func getPrivate(stub shim.ChaincodeStubInterface, args []string) ([]byte, error) {
	value, err := stub.GetPrivateData(args[0], args[1])
	return present(args[1], value, err)
}

// present turns the empty value that the peer sends for an absent key into an
// error.
func present(key string, value []byte, err error) ([]byte, error) {
	if err == nil && len(value) == 0 {
		return nil, fmt.Errorf("no value for key %q", key)
	}
	return value, err
}
