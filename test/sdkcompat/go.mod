module github.com/fabricops/terraform-provider-fabric/test/sdkcompat

go 1.26.0

require (
	github.com/golang/protobuf v1.5.4
	github.com/hyperledger/fabric-config v0.2.1
	github.com/hyperledger/fabric-protos-go v0.3.3
	github.com/hyperledger/fabric-sdk-go v1.0.1-0.20240123083657-5d6ca326e01b
	github.com/pkg/errors v0.9.1
	google.golang.org/genproto v0.0.0-20250603155806-513f23925822
)
