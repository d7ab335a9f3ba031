import {
  to = fabric_network.example
  id = "quickstart" # NAME, or NAME/OWNER_ID where several fabric_network share one network of the engine
}
