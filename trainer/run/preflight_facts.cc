#include "data/io/hdf5_file.h"
#include "kernels/comm/versions.h"
#include "kernels/runtime/gpu.h"
#include "trainer/run/preflight.h"
#include "trainer/run/version.h"

namespace wyvern {

RankFacts FactsOfProcess(Device device) {
  using Weight = RankFact::Weight;
  RankFacts facts = {{"Wyvern", Version(), Weight::kError}};
  facts.push_back({"HDF5", Hdf5Version(), Weight::kWarning});
  for (const auto& [name, version] : LibraryVersions(device)) {
    // NCCL refuses peers of another version, later and with less to say.
    facts.push_back({name, version, name == "NCCL" ? Weight::kError : Weight::kWarning});
  }
  if (device == Device::kCuda && CudaAvailable()) {
    facts.push_back({"GPU", CurrentGpu().name, Weight::kWarning});
  }
  return facts;
}

}  // namespace wyvern
