// How much memory the oracle, the generator and shrinking take: as much for the last of many sets
// as for the first, and little.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>
#include <malloc.h>

#include "checks/policy/generator.h"
#include "checks/policy/test_world.h"

namespace {

std::atomic<std::size_t> held{0};
std::atomic<std::size_t> most_held{0};

}  // namespace

// Counted in this whole program. The aligned ones are left as they are: nothing here uses them.
void* operator new(std::size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  const auto now = held += ::malloc_usable_size(memory);
  if (now > most_held) most_held = now;
  return memory;
}

void operator delete(void* memory) noexcept {
  if (memory != nullptr) held -= ::malloc_usable_size(memory);
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace checks {
namespace {

// The most that is held at a time beyond what was held before.
template <typename Work>
std::size_t peak_of(Work work) {
  work();  // once for what is made once
  const std::size_t before = held;
  most_held = before;
  work();
  EXPECT_EQ(held, before) << "what it took it gave back";
  return most_held - before;
}

TEST(PolicyMemory, IsBoundedForEveryRandomSet) {
  const PolicySpace space{.world = test_world(),
                          .ports = {80, 81},
                          .protocols = {base::kube::Protocol::TCP, base::kube::Protocol::UDP}};
  std::size_t most = 0;
  std::uint64_t allowed = 0;
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    most = std::max(most, peak_of([&] {
                      auto world = space.world;
                      world.policies = random_policies(space, seed);
                      for (const auto& flow : all_flows(space)) {
                        allowed += decide(world, flow).allowance == Allowance::allowed ? 1 : 0;
                      }
                    }));
  }
  EXPECT_GT(allowed, 0U);
  EXPECT_LT(most, std::size_t{1} << 20);
}

TEST(PolicyMemory, OfTheSystematicListAndOfShrinkingIsBounded) {
  const PolicySpace space{.world = test_world(),
                          .ports = {80, 81},
                          .protocols = {base::kube::Protocol::TCP, base::kube::Protocol::UDP}};
  EXPECT_LT(peak_of([&] { EXPECT_FALSE(systematic_cases(space).empty()); }), std::size_t{8} << 20);
  EXPECT_LT(peak_of([&] {
              const auto shrunk =
                  shrink(random_policies(space, 1), [](const Policies&) { return true; }, 1'000);
              EXPECT_LE(shrunk.policies.size(), 1U);
            }),
            std::size_t{2} << 20);
}

}  // namespace
}  // namespace checks
