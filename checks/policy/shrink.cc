#include "checks/policy/generator.h"

namespace checks {
namespace {

using base::kube::LabelSelector;
using base::kube::NetworkPolicy;
using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;

// Walks the pieces of a policy and takes one out: the one of that place in the walk. With a place
// beyond the last it takes none out and counts them.
class Pieces {
 public:
  explicit Pieces(std::size_t place) : place_(place) {}

  [[nodiscard]] std::size_t passed() const { return passed_; }

  void walk(NetworkPolicy& policy) {
    auto& spec = policy.spec;
    list(spec.ingress, [&](auto& rule) { walk_rule(rule.from, rule.ports); });
    list(spec.egress, [&](auto& rule) { walk_rule(rule.to, rule.ports); });
    list(spec.policy_types, [](auto&) {});
    walk(spec.pod_selector);
  }

 private:
  // Whether it is this piece's turn.
  bool take() { return passed_++ == place_; }

  // Whole elements before what they are made of.
  template <typename T, typename Into>
  void list(std::vector<T>& elements, Into into) {
    for (std::size_t i = 0; i < elements.size(); ++i) {
      if (take()) {
        elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(i));
        return;
      }
    }
    for (auto& element : elements) into(element);
  }
  template <typename T>
  bool optional(std::optional<T>& member) {
    if (!member || !take()) return false;
    member.reset();
    return true;
  }

  void walk_rule(std::vector<NetworkPolicyPeer>& peers, std::vector<NetworkPolicyPort>& ports) {
    list(peers, [&](auto& peer) { walk(peer); });
    list(ports, [&](auto& port) {
      if (!optional(port.end_port)) optional(port.port);
      optional(port.protocol);
    });
  }

  void walk(NetworkPolicyPeer& peer) {
    // Without its last the API server would not take it.
    if (peer.pod_selector && peer.namespace_selector) {
      if (optional(peer.pod_selector) || optional(peer.namespace_selector)) return;
    }
    if (peer.pod_selector) walk(*peer.pod_selector);
    if (peer.namespace_selector) walk(*peer.namespace_selector);
    if (peer.ip_block) list(peer.ip_block->except, [](auto&) {});
  }

  void walk(LabelSelector& selector) {
    for (auto label = selector.match_labels.begin(); label != selector.match_labels.end();
         ++label) {
      if (take()) {
        selector.match_labels.erase(label);
        return;
      }
    }
    list(selector.match_expressions, [&](auto& expression) {
      if (expression.values.size() > 1) list(expression.values, [](auto&) {});
    });
  }

  std::size_t place_;
  std::size_t passed_ = 0;
};

constexpr std::size_t nowhere = static_cast<std::size_t>(-1);

std::size_t pieces_within(const NetworkPolicy& policy) {
  NetworkPolicy copy = policy;
  Pieces pieces(nowhere);
  pieces.walk(copy);
  return pieces.passed();
}

class Shrinker {
 public:
  Shrinker(Policies policies, const StillFails& fails, std::uint64_t most_tries)
      : kept_(std::move(policies)), fails_(fails), left_(most_tries) {}

  Shrunk shrink() {
    // Once more after each pass that left something out: what was needed before may not be now.
    for (bool again = true; again;) {
      again = leave_out_policies();
      again = leave_out_pieces() || again;
    }
    return {.policies = kept_, .tried = tried_, .is_smallest = !ended_};
  }

 private:
  bool fails(const Policies& candidate) {
    if (ended_ || tried_ == left_) {
      ended_ = true;
      return false;
    }
    ++tried_;
    return fails_(candidate);
  }

  bool leave_out_policies() {
    bool any = false;
    for (std::size_t i = 0; i < kept_.size() && !ended_;) {
      Policies candidate = kept_;
      candidate.erase(candidate.begin() + static_cast<std::ptrdiff_t>(i));
      if (fails(candidate)) {
        kept_ = std::move(candidate);
        any = true;
      } else {
        ++i;
      }
    }
    return any;
  }

  bool leave_out_pieces() {
    bool any = false;
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      for (std::size_t place = 0; place < pieces_within(kept_[i]) && !ended_;) {
        Policies candidate = kept_;
        Pieces(place).walk(candidate[i]);
        if (base::kube::validate(candidate[i]) && fails(candidate)) {
          kept_ = std::move(candidate);
          any = true;
        } else {
          ++place;
        }
      }
    }
    return any;
  }

  Policies kept_;
  const StillFails& fails_;
  std::uint64_t left_;
  std::uint64_t tried_ = 0;
  bool ended_ = false;
};

}  // namespace

Shrunk shrink(Policies policies, const StillFails& fails, std::uint64_t most_tries) {
  return Shrinker(std::move(policies), fails, most_tries).shrink();
}

std::size_t pieces_of(const Policies& policies) {
  std::size_t pieces = policies.size();
  for (const auto& policy : policies) pieces += pieces_within(policy);
  return pieces;
}

}  // namespace checks
