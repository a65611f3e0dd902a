#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probes/wire/wire.h"

namespace probes {
namespace {

using ::testing::HasSubstr;

base::Json sound() {
  return {{"servers", {"10.0.0.1:80"}},
          {"canaries", {{{"name", "request"}, {"token", std::string(32, 'a')}}}}};
}

std::string refusal(const base::Json& json) {
  const auto job = parse_capture_job(json);
  return job ? "" : job.error().message;
}

TEST(CaptureJob, IsReadWithinItsBounds) {
  EXPECT_EQ(refusal(sound()), "");
  auto nobody = sound();
  nobody["servers"] = base::Json::array();
  EXPECT_THAT(refusal(nobody), HasSubstr("job.servers: expected 1 to 1024 of them, got 0"));
  auto guessable = sound();
  guessable["canaries"][0]["token"] = "abc";
  EXPECT_THAT(refusal(guessable), HasSubstr("expected 32 hexadecimal digits"));
  auto twice = sound();
  twice["canaries"].push_back({{"name", "reply"}, {"token", std::string(32, 'a')}});
  EXPECT_THAT(refusal(twice), HasSubstr("job.canaries: reply: this token is there twice"));
  auto small = sound();
  small["ring"] = "1KiB";
  EXPECT_THAT(refusal(small), HasSubstr("job.ring: expected 1MiB to 1GiB"));
  auto mixed = sound();
  mixed["samples"] = {{{"protocol", "http"}, {"client", "[fd00::1]:1"}, {"server", "10.0.0.1:80"}}};
  EXPECT_THAT(refusal(mixed), HasSubstr("two families"));
}

}  // namespace
}  // namespace probes
