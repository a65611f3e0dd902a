#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/kube/endpoint_slice.h"
#include "base/kube/meta.h"
#include "base/kube/service.h"

namespace base::kube {
namespace {

using testing::HasSubstr;

// What `kubectl get service,endpointslice -o json` prints, with the fields we do not look at.
constexpr std::string_view service_json = R"({
  "apiVersion": "v1", "kind": "Service",
  "metadata": {"name": "web", "namespace": "shop", "uid": "0c1d", "resourceVersion": "4711",
               "labels": {"app": "web"}},
  "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "clusterIP": "10.96.0.11",
           "clusterIPs": ["10.96.0.11", "fd00:10:96::b"], "ipFamilies": ["IPv4", "IPv6"],
           "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
                     {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353}],
           "sessionAffinity": "None"},
  "status": {"loadBalancer": {}}})";

constexpr std::string_view slice_json = R"({
  "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
  "metadata": {"name": "web-abc12", "labels": {"kubernetes.io/service-name": "web"}},
  "endpoints": [
    {"addresses": ["fd00:10:244:2::2"], "conditions": {"ready": false, "terminating": true},
     "nodeName": "node2", "targetRef": {"kind": "Pod", "name": "web-0", "namespace": "default"}},
    {"addresses": ["fd00:10:244:2::3"]}],
  "ports": [{"name": "http", "protocol": "TCP", "port": 8080}]})";

template <typename T>
Result<T> read(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, parse_json(text));
  return from_json<T>(json, "object");
}

TEST(KubeService, IsReadAsTheServerPrintsIt) {
  const auto service = read<Service>(service_json);
  ASSERT_TRUE(service) << service.error().message;
  EXPECT_EQ(service->metadata.in_namespace, "shop");
  EXPECT_EQ(service->metadata.resource_version, "4711");
  ASSERT_EQ(service->spec.ports.size(), 2U);
  EXPECT_EQ(service->spec.ports[0].target_port, IntOrString{"http"});
  EXPECT_EQ(service->spec.ports[1].target_port, IntOrString{5353});
  EXPECT_EQ(service->spec.ports[1].protocol, Protocol::UDP);
  EXPECT_THAT(service->spec.cluster_ips, testing::ElementsAre("10.96.0.11", "fd00:10:96::b"));
}

TEST(KubeService, ReadsBackWhatItWrites) {
  const auto service = read<Service>(service_json);
  ASSERT_TRUE(service);
  const auto again = from_json<Service>(to_json(*service));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *service);
}

TEST(KubeService, ErrorsNameThePlace) {
  const auto bad_port = read<Service>(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},
          "spec":{"ports":[{"port":80},{"port":70000}]}})");
  ASSERT_FALSE(bad_port);
  EXPECT_THAT(bad_port.error().message, HasSubstr("object.spec.ports[1].port"));
  const auto bad_target = read<Service>(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},
          "spec":{"ports":[{"port":80,"targetPort":1.5}]}})");
  ASSERT_FALSE(bad_target);
  EXPECT_THAT(bad_target.error().message, HasSubstr("targetPort"));
  const auto nameless =
      read<Service>(R"({"apiVersion":"v1","kind":"Service","metadata":{},"spec":{}})");
  ASSERT_FALSE(nameless);
  EXPECT_THAT(nameless.error().message, HasSubstr("object.metadata.name: missing"));
}

TEST(KubeEndpointSlice, IsReadAsTheServerPrintsIt) {
  const auto slice = read<EndpointSlice>(slice_json);
  ASSERT_TRUE(slice) << slice.error().message;
  EXPECT_EQ(slice->address_type, IpFamily::IPv6);
  ASSERT_EQ(slice->endpoints.size(), 2U);
  EXPECT_EQ(slice->endpoints[0].conditions.ready, false);
  EXPECT_EQ(slice->endpoints[0].target_ref->name, "web-0");
  // Unknown is not the same as false.
  EXPECT_EQ(slice->endpoints[1].conditions.ready, std::nullopt);
  const auto again = from_json<EndpointSlice>(to_json(*slice));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *slice);
}

TEST(DnsLabel, IsWhatTheServerTakes) {
  for (const auto* good : {"a", "web", "web-0", "0", "a-b-c"}) EXPECT_TRUE(is_dns_label(good));
  for (const auto* bad : {"", "-a", "a-", "Web", "a.b", "a_b", "a b"}) {
    EXPECT_FALSE(is_dns_label(bad)) << bad;
  }
  EXPECT_TRUE(is_dns_label(std::string(63, 'a')));
  EXPECT_FALSE(is_dns_label(std::string(64, 'a')));
}

}  // namespace
}  // namespace base::kube
