// The part of the kinds that make pods which decides what policies do with those: its fields, and
// nothing else of them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/kube/meta.h"
#include "base/kube/network_policy.h"

namespace stackbench {

struct ContainerPort {
  std::int32_t port = 0;
  std::string name;
  base::kube::Protocol protocol = base::kube::Protocol::TCP;
};

template <typename Visit, base::SelfOf<ContainerPort> Self>
void describe(Visit& visit, Self& self) {
  visit("containerPort", self.port,
        {.doc = "A port is 1 to 65535.", .required = true, .at_least = 1, .at_most = 65535});
  visit("name", self.name, {.doc = "By which policies may name it."});
  visit("protocol", self.protocol, {.doc = "TCP unless said."});
}

struct ManifestContainer {
  std::vector<ContainerPort> ports;
  std::string restart_policy;  // Always makes an init container a sidecar
};

template <typename Visit, base::SelfOf<ManifestContainer> Self>
void describe(Visit& visit, Self& self) {
  visit("ports", self.ports, {.doc = "What it serves."});
  visit("restartPolicy", self.restart_policy, {.doc = "Always makes an init container a sidecar."});
}

struct ManifestPodSpec {
  bool host_network = false;
  std::vector<ManifestContainer> containers;
  std::vector<ManifestContainer> init_containers;
};

template <typename Visit, base::SelfOf<ManifestPodSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("hostNetwork", self.host_network, {.doc = "Whether it has its node's network."});
  visit("containers", self.containers, {.doc = "A pod has at least one.", .required = true});
  visit("initContainers", self.init_containers, {.doc = "What runs before them."});
}

struct ManifestMeta {
  std::map<std::string, std::string> labels;
};

template <typename Visit, base::SelfOf<ManifestMeta> Self>
void describe(Visit& visit, Self& self) {
  visit("labels", self.labels, {.doc = "What selectors look at."});
}

// A Pod, or the template of some. A Namespace has no spec that matters.
struct ManifestPod {
  ManifestMeta metadata;
  ManifestPodSpec spec;
};

template <typename Visit, base::SelfOf<ManifestPod> Self>
void describe(Visit& visit, Self& self) {
  visit("metadata", self.metadata, {.doc = "Its labels."});
  visit("spec", self.spec, {.doc = "Its containers.", .required = true});
}

struct ManifestMaker {
  std::optional<std::int32_t> replicas;
  std::optional<std::int32_t> parallelism;
  std::optional<base::kube::LabelSelector> selector;
  ManifestPod pods;
};

template <typename Visit, base::SelfOf<ManifestMaker> Self>
void describe(Visit& visit, Self& self) {
  visit("replicas", self.replicas, {.doc = "How many pods.", .at_least = 0});
  visit("parallelism", self.parallelism, {.doc = "Of a Job: how many pods.", .at_least = 0});
  visit("selector", self.selector, {.doc = "Which pods are its own."});
  visit("template", self.pods, {.doc = "The pods it makes.", .required = true});
}

}  // namespace stackbench
