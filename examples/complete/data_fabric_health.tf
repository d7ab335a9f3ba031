data "fabric_health" "this" {
  network = fabric_network.this.handle

  depends_on = [fabric_transaction.first]
}

# What is wrong is a warning, in every plan and apply.
check "network" {
  assert {
    condition     = data.fabric_health.this.healthy
    error_message = join("\n", data.fabric_health.this.problems)
  }

  assert {
    condition     = coalesce(data.fabric_health.this.certificate_days_left, 0) > 30
    error_message = "A certificate expires within 30 days."
  }

  assert {
    condition     = alltrue([for channel in data.fabric_health.this.channels : channel.lag < 100])
    error_message = "A node is 100 blocks behind."
  }
}
