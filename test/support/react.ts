type Dependencies = readonly unknown[]
type CleanUp = (() => void) | undefined

interface Slot {
  value: unknown
  dependencies: Dependencies | undefined
  /** Of an effect: undoes it. */
  cleanUp?: CleanUp
}

/**
 * As much of React as the documents' hooks need: state, references, callbacks, effects; rendering again when state
 * changed.
 */
export class TestReact {
  private component: (() => void) | undefined
  private readonly slots: Slot[] = []
  private next = 0
  private effects: (() => void)[] = []
  private scheduled = false

  readonly hooks = {
    useState: <S>(first: S): [S, (value: S) => void] => {
      const slot = this.slotOf(() => first)
      const set = (value: S) => {
        if (Object.is(slot.value, value)) return
        slot.value = value
        this.update()
      }
      return [slot.value as S, set]
    },
    useRef: <C>(current: C) => this.slotOf(() => ({ current })).value as { current: C },
    useCallback: <C>(callback: C, dependencies: Dependencies): C => {
      const slot = this.slotOf(() => callback, dependencies)
      if (changed(slot.dependencies, dependencies)) Object.assign(slot, { value: callback, dependencies })
      return slot.value as C
    },
    useEffect: (effect: () => CleanUp, dependencies?: Dependencies): void => {
      const slot = this.slotOf(() => undefined)
      if (!changed(slot.dependencies, dependencies)) return
      slot.dependencies = dependencies
      this.effects.push(() => {
        slot.cleanUp?.()
        slot.cleanUp = effect()
      })
    },
  }

  /** Renders a component, and again whenever its state changes. @returns what it returned last */
  mount<T>(component: () => T): { readonly current: T } {
    const result = {} as { current: T }
    this.component = () => {
      result.current = component()
    }
    this.render()
    return result
  }

  unmount(): void {
    this.component = undefined
    for (const { cleanUp } of this.slots) cleanUp?.()
  }

  private slotOf(first: () => unknown, dependencies?: Dependencies): Slot {
    return (this.slots[this.next++] ??= { value: first(), dependencies })
  }

  private update(): void {
    if (this.scheduled) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      this.render()
    })
  }

  private render(): void {
    this.next = 0
    this.component?.()
    for (const effect of this.effects.splice(0)) effect()
  }
}

function changed(before: Dependencies | undefined, now: Dependencies | undefined): boolean {
  return before === undefined || now === undefined || before.some((value, i) => !Object.is(value, now[i]))
}
