#include "autograd/profiler_range.h"

#ifdef WYVERN_CUDA
#include <nvtx3/nvToolsExt.h>
#endif

namespace wyvern {
namespace {

RangeObserver* current_observer = nullptr;

}  // namespace

void ObserveRanges(RangeObserver* observer) { current_observer = observer; }

ProfilerRange::ProfilerRange(const char* name, WorkClass work_class, Pass pass) {
#ifdef WYVERN_CUDA
  nvtxRangePushA(name);
#endif
  if (current_observer != nullptr) current_observer->Begin(name, work_class, pass);
}

ProfilerRange::~ProfilerRange() {
  if (current_observer != nullptr) current_observer->End(work_);
#ifdef WYVERN_CUDA
  nvtxRangePop();
#endif
}

}  // namespace wyvern
