import {
  to = fabric_transaction.example
  id = "quickstart/trade/2ba5a2dd8d5cbc4d8ff1b5ab2c0ae4ac0d8d9c1a5c2f9c3e8f7d6b5a49382716" # NETWORK/CHANNEL/TRANSACTION_ID
}
