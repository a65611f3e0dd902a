// What a scenario asks of certificates that are rotated while traffic runs: how often, how long
// each lasts, and what must hold meanwhile.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/scalar.h"
#include "cluster/rotation.h"

namespace stackbench {

// What is granted.
struct RotationBudget {
  base::Duration renewed = std::chrono::seconds(1);
  base::Duration gap = std::chrono::milliseconds(500);
};

template <typename Visit, base::SelfOf<RotationBudget> Self>
void describe(Visit& visit, Self& self) {
  visit("renewed", self.renewed,
        {.doc = "Check certificates_renewed: how long after it was written every proxy must show a "
                "new certificate in a whole handshake."});
  visit("gap", self.gap,
        {.doc = "Check rotation_is_seamless: the longest time between two answered requests."});
}

struct RotationSpec {
  std::string service;
  std::string from = "client";
  base::RequestRate rate{150};
  int connections = 4;
  base::Duration certificates_last = std::chrono::seconds(5);
  base::Duration every = std::chrono::seconds(2);
  int rotations = 6;
  bool rotate_root = false;
  RotationBudget budget = {};
};

template <typename Visit, base::SelfOf<RotationSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("service", self.service, {.doc = "The Service that is dialled.", .required = true});
  visit("from", self.from, {.doc = "The pods whose first one is the client."});
  visit("rate", self.rate,
        {.doc = "Requests over new connections, one each; and as many over kept ones. Both all the "
                "time."});
  visit("connections", self.connections,
        {.doc = "How many are kept.", .at_least = 1, .at_most = 256});
  visit("certificates_last", self.certificates_last,
        {.doc =
             "How long each proxy's certificate is valid, in whole seconds (Istio's SECRET_TTL)."});
  visit("every", self.every,
        {.doc = "How often they are rotated, and how long each time is watched."});
  visit(
      "rotations", self.rotations,
      {.doc = "How often each proxy is given a new certificate.", .at_least = 1, .at_most = 1000});
  visit(
      "rotate_root", self.rotate_root,
      {.doc = "Whether the root is rotated afterwards: both are trusted, then certificates are of "
              "the new one, then the old one is dropped."});
  visit("budget", self.budget, {.doc = "What is granted."});
}

// What is done, one step each `every`.
[[nodiscard]] inline std::vector<cluster::RotationStep> steps_of(const RotationSpec& rotation) {
  using enum cluster::RotationStep;
  std::vector<cluster::RotationStep> steps(static_cast<std::size_t>(rotation.rotations), leaf);
  if (rotation.rotate_root) {
    steps.insert(steps.end(), {trust_both_roots, leaf_of_new_root, drop_old_root});
  }
  return steps;
}

// How long traffic runs: before the first step, and after each.
[[nodiscard]] inline base::Duration traffic_lasts(const RotationSpec& rotation) {
  return rotation.every * static_cast<std::int64_t>(steps_of(rotation).size() + 1);
}

}  // namespace stackbench
